"""Training: resumes to the same bytes, keeps the right epoch, refuses what cannot work."""

import contextlib
import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from hlclip.formats import Annotation, CheckpointError, read_facts
from hlclip.model import (
    DeviceError,
    EncoderError,
    build_tail,
    load_encoder,
    load_tail,
    pretrained_tail,
    save_tail,
)
from hlclip.params import MomentsParams, PoolParams, TrainParams, load_params, trains
from hlclip.pipeline.evaluate import evaluate_splits
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.store import Store, StoreError
from hlclip.training import CachedQueries, Loss, TrainError, TrainingState, fit_tail
from hlclip.training.batches import rating_target, window_target
from hlclip.training.fit import HISTORY
from hlclip.training.optimizer import WeightAverage
from tests.cached import CachedData
from tests.models import save_model, tiny_config
from tests.runs import ORIGIN

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml").train


def settings(**changes) -> TrainParams:
    few = {"epochs": 3, "batch": 2, "lr": 1e-3, "precision": "fp32", "device": "cpu"}
    return PARAMS.model_copy(update={**few, **changes})


def train(data: CachedData, params: TrainParams, folder: Path) -> bytes:
    train_tail(
        data.index,
        data.images,
        data.texts,
        data.params,
        params,
        store=data.store,
        checkpoint=folder / "tail.safetensors",
        history=folder / "history.csv",
    )
    return (folder / "tail.safetensors").read_bytes()


def results(data: CachedData) -> set[Path]:
    """Finished trainings in the store."""
    return set((data.store / "training").glob("*.safetensors"))


def forget_results(data: CachedData) -> None:
    shutil.rmtree(data.store / "training")


def test_the_checkpoint_says_what_made_it_and_keeps_the_best_epoch(data, tmp_path):
    train(data, settings(), tmp_path)
    lines = list(csv.DictReader((tmp_path / "history.csv").open()))
    assert tuple(lines[0]) == HISTORY
    best = max(lines, key=lambda line: float(line["val_mAP"]))  # max takes the earliest of equals
    facts = read_facts(tmp_path / "tail.safetensors")
    assert facts["chosen"]["epoch"] == int(best["epoch"])
    assert facts["chosen"]["val_mAP"] == float(best["val_mAP"])
    assert facts["train"]["blocks"] == 2
    assert facts["dtype"] == data.images.header["dtype"]
    assert facts["weights"] == data.images.header["weights"]
    assert facts["dtype"] == data.images.header["dtype"]


def test_the_checkpoint_says_where_its_model_was_if_its_name_does_not(data, tmp_path, monkeypatch):
    train(data, settings(epochs=1), tmp_path)
    facts = read_facts(tmp_path / "tail.safetensors")
    folder = Path(data.params.model.removeprefix("local-dir:"))
    assert facts["model"] == f"local-dir:{folder.name}"
    assert facts["given"] == {"model": data.params.model}
    forget_results(data)
    monkeypatch.chdir(folder.parent)
    same = data.params.model_copy(update={"model": facts["model"]})
    train(replace(data, params=same), settings(epochs=1), tmp_path)
    assert "given" not in read_facts(tmp_path / "tail.safetensors")


def test_the_test_split_is_never_read(data, tmp_path):
    """Neither weights nor the epoch that is kept can depend on test."""
    first = train(data, settings(), tmp_path / "a")
    forget_results(data)
    without = replace(data.index, queries={s: data.index.queries[s] for s in ("train", "val")})
    assert train(replace(data, index=without), settings(), tmp_path / "b") == first


def test_the_checkpoint_loads_into_a_plain_open_clip_model(data, tmp_path):
    train(data, settings(select="last"), tmp_path)
    model = load_encoder(data.params.model, None, cached_blocks=2).model
    tensors = load_file(tmp_path / "tail.safetensors")
    loaded = model.load_state_dict(tensors, strict=False)
    assert loaded.unexpected_keys == []
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    load_tail(tmp_path / "tail.safetensors", tail, weights=str(data.images.header["weights"]))
    for name, parameter in tail.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(tail.names[name]))


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(data, tmp_path):
    first = train(data, settings(select="last"), tmp_path / "a")
    forget_results(data)
    assert train(data, settings(select="last"), tmp_path / "b") == first
    other = load_file(tmp_path / "a" / "tail.safetensors")
    train(data, settings(select="last", seed=1), tmp_path / "c")
    changed = load_file(tmp_path / "c" / "tail.safetensors")
    assert any(not torch.equal(other[name], changed[name]) for name in other)


# Results in the store


def test_an_interrupted_training_resumes_to_the_same_bytes(data, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    whole = train(data, settings(), tmp_path / "whole")
    forget_results(data)
    save = TrainingState.save

    def save_and_stop(state: TrainingState, path: Path) -> None:
        save(state, path)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(TrainingState, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train(data, settings(), tmp_path / "parts")
    assert results(data) == set()
    assert train(data, settings(), tmp_path / "parts") == whole
    assert "training resumes after epoch 1 of 3" in caplog.messages
    histories = [(tmp_path / run / "history.csv").read_bytes() for run in ("whole", "parts")]
    assert histories[0] == histories[1]
    assert {path.suffix for path in (data.store / "training").iterdir()} == {".safetensors"}


def test_a_finished_training_is_taken_from_the_store(data, tmp_path):
    """Without activations nothing can be computed."""
    first = train(data, settings(), tmp_path / "a")
    for kind in ("images", "texts"):
        shutil.rmtree(data.store / kind)
    assert train(data, settings(), tmp_path / "b") == first
    histories = [(tmp_path / run / "history.csv").read_bytes() for run in ("a", "b")]
    assert histories[0] == histories[1]


@pytest.mark.parametrize("changed", ["version", "seed", "torch"])
def test_a_training_that_may_differ_has_another_key(data, tmp_path, monkeypatch, changed):
    params = settings(epochs=1)
    train(data, params, tmp_path)
    before = results(data)
    assert len(before) == 1
    if changed == "seed":
        params = settings(epochs=1, seed=params.seed + 1)
    elif changed == "version":
        monkeypatch.setattr("hlclip.pipeline.train.TRAINING_VERSION", 1000)
    else:
        monkeypatch.setattr("hlclip.pipeline.train.version", lambda package: f"{package} 1000")
    train(data, params, tmp_path)
    assert len(results(data)) == 2
    assert before < results(data)


@pytest.mark.parametrize(
    "damage", [lambda whole: whole[:-1], lambda whole: whole[:-1] + bytes([whole[-1] ^ 1])]
)
def test_a_damaged_result_is_named_and_made_again(
    data, tmp_path, caplog, damage: Callable[[bytes], bytes]
):
    first = train(data, settings(), tmp_path / "a")
    (result,) = results(data)
    result.write_bytes(damage(result.read_bytes()))
    assert train(data, settings(), tmp_path / "b") == first
    assert f"{result}: damaged" in caplog.text
    assert result.read_bytes() == first


@pytest.mark.parametrize("scale", ["literal", "learned"])
def test_interrupted_after_any_epoch_it_resumes_to_the_same_weights(data, tmp_path, scale):
    params = settings(scale=scale, select="last")

    def run(epochs: int, resume: Path | None) -> dict[str, torch.Tensor]:
        encoder = load_encoder(data.params.model, None, cached_blocks=2)
        tail = build_tail(encoder).train_only(2, "all")
        queries = CachedQueries(
            data.index, "train", data.images, data.texts, store=data.store, target="mean"
        )
        stop = StopAfter(epochs)
        try:
            cpu = torch.device("cpu")
            fit_tail(tail, queries, params, device=cpu, validate=stop, resume=resume)
        except KeyboardInterrupt:
            assert epochs < params.epochs
        return tail.trained()

    whole = run(3, None)
    for epochs in (1, 2):
        state = tmp_path / f"{epochs}.pt"
        run(epochs, state)
        resumed = run(3, state)
        assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_state_that_would_run_something_is_refused_unrun(data, tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "run",))

    state = tmp_path / "state.pt"
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2)).train_only(2, "all")
    optimizer = torch.optim.SGD(tail.trained().values())
    schedule = torch.optim.lr_scheduler.ConstantLR(optimizer)
    average = WeightAverage(tail.trained(), 0.0)
    hostile = TrainingState(tail.trained(), Loss("mse", "literal"), optimizer, schedule, average)
    hostile.history = [{"epoch": Hostile()}]
    hostile.save(state)
    queries = CachedQueries(
        data.index, "train", data.images, data.texts, store=data.store, target="mean"
    )
    with pytest.raises(UnpicklingError):
        fit_tail(tail, queries, settings(), device=torch.device("cpu"), validate=None, resume=state)
    assert not (tmp_path / "run").exists()


class StopAfter:
    """A validation that interrupts in the epoch after `epochs`."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def __call__(self, tail) -> tuple[float, float]:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return 1.0, 1.0


def test_zero_blocks_is_zero_shot_clip(data, tmp_path):
    train(data, settings(blocks=0), tmp_path)
    assert load_file(tmp_path / "tail.safetensors") == {}
    scores = score_splits(
        data.index,
        data.images,
        data.texts,
        data.params,
        settings(blocks=0),
        ["val"],
        store=data.store,
        checkpoint=tmp_path / "tail.safetensors",
    )
    assert set(scores["val"].cosines) == {"zero-shot"}


def test_scores_equal_full_model_cosines(data, tmp_path):
    """float32 store, so within 1e-6 of open_clip's encode_image and encode_text."""
    train(data, settings(), tmp_path)
    splits = score_splits(
        data.index,
        data.images,
        data.texts,
        data.params,
        settings(),
        ["train", "test"],
        store=data.store,
        checkpoint=tmp_path / "tail.safetensors",
    )
    assert splits["train"].lengths.tolist() == [5, 5, 6, 7, 4, 0]  # short, long, missing
    encoder = load_encoder(data.params.model, None, cached_blocks=2)
    for variant in ("zero-shot", "HL-CLIP-2"):
        if variant == "HL-CLIP-2":
            encoder.model.load_state_dict(load_file(tmp_path / "tail.safetensors"), strict=False)
        for split in splits.values():
            for line, row, length in zip(
                split.cosines[variant], split.rows, split.lengths, strict=True
            ):
                if length == 0:
                    continue
                image = encoder.model.encode_image(pixels(encoder, data.frames[row.vid][:length]))
                text = encoder.model.encode_text(encoder.tokenizer([row.query]))
                full = torch.cosine_similarity(image, text).detach()
                torch.testing.assert_close(torch.tensor(line[:length]), full, atol=1e-6, rtol=0)


def pixels(encoder, frames) -> torch.Tensor:
    mean = torch.tensor(encoder.preprocess.mean).view(3, 1, 1)
    std = torch.tensor(encoder.preprocess.std).view(3, 1, 1)
    return (torch.tensor(frames).permute(0, 3, 1, 2) / 255 - mean) / std


@pytest.mark.parametrize(("vid", "scored"), [("b", 6), ("gone", 0)])
@pytest.mark.parametrize(
    ("precision", "select_on"), [("fp32", "unpooled"), ("bf16", "unpooled"), ("fp32", "pooled")]
)
def test_validation_is_what_evaluate_measures(data, tmp_path, precision, select_on, vid, scored):
    """A clip without frame gets its query's lowest score, and a row without video counts."""
    row = next(row for row in data.index.queries["train"] if row.vid == vid)
    truth = {"relevant_clip_ids": (row.clips - 1,), "saliency_scores": ((4, 4, 4),)}
    row = row.model_copy(update=truth)  # the clip without frame is the highlight
    queries = {**data.index.queries, "val": [*data.index.queries["val"], row]}
    data = replace(data, index=replace(data.index, queries=queries))
    # Cosines stay negative.
    params = settings(precision=precision, select_on=select_on, epochs=1, lr=1e-6)
    train(data, params, tmp_path)
    checkpoint = tmp_path / "tail.safetensors"
    splits = score_splits(
        data.index,
        data.images,
        data.texts,
        data.params,
        params,
        ["val"],
        store=data.store,
        checkpoint=checkpoint,
    )
    assert splits["val"].lengths.tolist() == [8, 6, scored]
    assert splits["val"].clips[2] > scored
    evaluate_splits(
        splits,
        PoolParams(window=3, mode="mean", sigma=1, border="neighbours"),
        MomentsParams(rule="consensus", focus=2),
        metrics=tmp_path / "metrics.json",
        outputs=tmp_path,
        origin=ORIGIN,
    )
    variant = {"unpooled": "HL-CLIP-2", "pooled": "HL-CLIP-2 (SP)"}[select_on]
    table = json.loads((tmp_path / "figures.json").read_text())["val"][variant]["VeryGood"]
    chosen = read_facts(checkpoint)["chosen"]
    assert {"mAP": chosen["val_mAP"], "HIT@1": chosen["val_HIT@1"]} == table


def test_no_train_video_is_an_error(data, tmp_path):
    index = data.index.__class__(
        2.0, {**data.index.queries, "train": data.index.queries["train"][-1:]}, {}, {}
    )
    with pytest.raises(TrainError, match="no row of the train split"):
        train(CachedData(index, {}, data.images, data.texts, data.params, data.store), settings(),
              tmp_path)  # fmt: skip


def test_a_loss_that_is_not_finite_is_an_error(data, tmp_path):
    with pytest.raises(TrainError, match=r"-S train\.lr=1e\+29"):
        train(data, settings(lr=1e30), tmp_path)
    assert not (tmp_path / "tail.safetensors").exists()


def test_replaced_weights_are_refused(data, tmp_path):
    model = save_model(tmp_path, tiny_config(), seed=1)
    with pytest.raises(EncoderError, match="field 'weights'"):
        pretrained_tail(model, None, cached_blocks=2, weights=str(data.images.header["weights"]))


def test_a_damaged_or_foreign_checkpoint_is_refused(data, tmp_path):
    whole = train(data, settings(epochs=1), tmp_path)
    path = tmp_path / "tail.safetensors"
    tail = build_tail(load_encoder(data.params.model, None, cached_blocks=2))
    with pytest.raises(CheckpointError, match="field 'weights'"):
        load_tail(path, tail, weights="others")
    for size in (0, 4, 100, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"tail\.safetensors"):
            read_facts(path)
    for content in (whole + b"\0", save({"a": torch.ones(1)}), b"\0" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tail\.safetensors"):
            read_facts(path)
    facts = {"weights": "w", "train": {"blocks": 1}}
    path.write_bytes(save({"a": torch.ones(1)}, {"hlclip": json.dumps(facts, sort_keys=True)}))
    with pytest.raises(CheckpointError, match=r"(?s)digest.*dvc repro --force train"):
        read_facts(path)


def test_no_flipped_byte_of_a_checkpoint_passes(data, tmp_path):
    path = tmp_path / "tail.safetensors"
    facts = {"weights": "w ß", "train": {"blocks": 2, "lr": 1e-5}}
    save_tail(path, {"b": torch.rand(3, 5), "a": torch.rand(7).half()}, facts)
    assert read_facts(path) == facts
    whole = path.read_bytes()
    masks = np.random.default_rng(0).integers(1, 256, len(whole)).tolist()
    for at, mask in enumerate(masks):
        for flip in {mask, 0x29}:  # 0x29 makes a tab of a space
            path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
            with pytest.raises(CheckpointError, match=r"tail\.safetensors"):
                read_facts(path)


@pytest.mark.parametrize("damage", ["flip", "empty", "another training's"])
def test_a_damaged_state_is_named_and_training_begins_again(data, tmp_path, caplog, damage):
    params = settings(epochs=2, select="last")

    def run(epochs: int, resume: Path | None, seed: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        encoder = load_encoder(data.params.model, None, cached_blocks=2)
        tail = build_tail(encoder).train_only(2, "all")
        queries = CachedQueries(
            data.index, "train", data.images, data.texts, store=data.store, target="mean"
        )
        used = params.model_copy(update={"seed": seed})
        with contextlib.suppress(KeyboardInterrupt):
            stop = StopAfter(epochs)
            fit_tail(tail, queries, used, device=torch.device("cpu"), validate=stop, resume=resume)
        return tail.trained()

    expected = run(2, None)
    state = tmp_path / "state.pt"
    run(1, state)
    content = bytearray(state.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    elif damage == "empty":
        content = bytearray()
    else:
        run(1, tmp_path / "other.pt", seed=1)
        content = (tmp_path / "other.pt").read_bytes()
    state.write_bytes(content)
    trained = run(2, state)
    assert f"{state}: damaged" in caplog.text
    assert all(torch.equal(trained[name], expected[name]) for name in expected)


def test_a_damaged_activation_is_named(data, tmp_path):
    item = data.images.items["a"]
    path = Store(data.store, "images", data.images.header).path(item.key)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with pytest.raises(StoreError, match=path.name):
            train(data, settings(epochs=1), tmp_path)
    finally:
        path.write_bytes(whole)


def test_a_fixed_or_learned_scale_and_bias_change_the_loss(data, tmp_path):
    first = {
        scale: losses(data, tmp_path, scale=scale, scale_init=5.0, bias_init=-0.5, epochs=1)[0]
        for scale in ("literal", "fixed", "learned")
    }
    assert len(set(first.values())) == 3


def test_scale_and_bias_learn_at_their_own_rate(data, tmp_path):
    slow = losses(data, tmp_path, scale="learned", lr=1e-9, scale_lr=1e-9)
    fast = losses(data, tmp_path, scale="learned", lr=1e-9, scale_lr=0.05)
    assert slow[-1] == pytest.approx(slow[0], rel=1e-4)
    assert fast[-1] < 0.95 * fast[0]


def test_the_schedule_is_what_train_csv_shows(data, tmp_path):
    rates = {}
    for schedule in ("constant", "cosine"):
        losses(data, tmp_path, schedule=schedule, epochs=3)
        lines = csv.DictReader((tmp_path / "history.csv").open())
        rates[schedule] = [float(line["lr"]) for line in lines]
    assert rates["constant"] == [1e-3] * 3
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][-1] < 0.5e-3


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("heads", ["frozen", "norm", "projection", "all"])
def test_what_trains_is_what_the_parameters_say(data, tmp_path, blocks, heads):
    """Names in the checkpoint, and nothing else differs from the pretrained model."""
    train(data, settings(blocks=blocks, heads=heads, epochs=1, select="last"), tmp_path)
    names = set(load_file(tmp_path / "tail.safetensors"))
    layers = 4
    wanted = {
        f"{tower}transformer.resblocks.{layer}."
        for tower in ("visual.", "")
        for layer in range(layers - blocks, layers)
    }
    if heads in ("norm", "all"):
        wanted |= {"visual.ln_post.", "ln_final."}
    if heads in ("projection", "all"):
        wanted |= {"visual.proj", "text_projection"}
    assert all(name.startswith(tuple(wanted)) for name in names)
    assert all(any(name.startswith(part) for name in names) for part in wanted)


def test_mean_over_4_is_sum_over_12():
    """HL-CLIP's Likert 0..4 to 0..1, and UMT's sum of three ratings / 12, are one target."""
    ratings = np.random.default_rng(0).integers(0, 5, (75, 3))
    expected = torch.from_numpy(ratings.sum(axis=1) / 12).float()
    torch.testing.assert_close(rating_target(ratings, "mean"), expected, rtol=0, atol=0)
    assert rating_target(np.array([[0, 1, 4]]), "median").item() == 0.25
    assert rating_target(np.array([[0, 1, 4]]), "max").item() == 1.0
    assert rating_target(np.array([[0, 1, 4]]), "min").item() == 0.0


def test_ratings_on_another_scale_are_0_to_1():
    ratings = np.array([[1, 1], [5, 5], [2, 3]])
    assert rating_target(ratings, "mean", (1, 5)).tolist() == [0.0, 1.0, 0.375]
    assert rating_target(np.array([[-1], [0], [1]]), "max", (-1, 1)).tolist() == [0.0, 0.5, 1.0]


def test_windows_are_the_target_of_rows_without_ratings():
    row = {"qid": 1, "query": "q", "vid": "v", "duration": 9.7, "dataset": "charades-sta"}
    windows = [[0, 1], [3.1, 5.0], [7.0, 9.7]]  # the middles are 1, 3, 5 and 7 s
    targets = window_target(Annotation.model_validate(row | {"relevant_windows": windows}))
    assert targets.tolist() == [0, 0, 0, 1]
    timed = row | {"clips": [[0, 1], [0, 7], [2, 8]], "relevant_windows": [[0.5, 5]]}
    assert window_target(Annotation.model_validate(timed)).tolist() == [1, 1, 0]


def without_ratings(
    data: CachedData, windows: tuple[tuple[float, float], ...] | None
) -> CachedData:
    queries = {
        split: [
            Annotation(
                qid=row.qid,
                query=row.query,
                vid=row.vid,
                duration=row.duration,
                relevant_clip_ids=None,
                relevant_windows=windows,
            )
            for row in rows
        ]
        for split, rows in data.index.queries.items()
    }
    return replace(data, index=replace(data.index, queries=queries))


def test_rows_with_windows_alone_train_on_them(data, tmp_path):
    blind = without_ratings(data, ((0.0, 4.0),))
    other = without_ratings(data, ((4.0, 8.0),))
    few = settings(select="last", epochs=1)
    assert train(blind, few, tmp_path) != train(other, few, tmp_path)
    assert len(results(data)) == 2


def test_rows_without_ratings_and_windows_are_refused(data, tmp_path):
    blind = without_ratings(data, None)
    with pytest.raises(
        TrainError, match="5 of 5 rows of train have neither saliency_scores nor"
    ) as caught:
        train(blind, settings(temporal="conv"), tmp_path)
    nothing = {"blocks": 0, "heads": "frozen", "temporal": "none"}
    assert all(f"-S train.{key}={value}" in caught.value.remedy() for key, value in nothing.items())
    assert not trains(data.params.model_copy(update={"cached_blocks": 0}), settings(**nothing))


def losses(data: CachedData, folder: Path, **changes) -> list[float]:
    train(data, settings(select="last", **changes), folder)
    return [float(line["loss"]) for line in csv.DictReader((folder / "history.csv").open())]


def test_bf16_autocast_trains_alike(data, tmp_path):
    fp32 = losses(data, tmp_path / "fp32")
    bf16 = losses(data, tmp_path / "bf16", precision="bf16")
    assert bf16 == pytest.approx(fp32, rel=0.02)
    assert bf16 != fp32


def test_pieces_train_alike(data, tmp_path):
    whole = losses(data, tmp_path / "whole")
    pieces = losses(data, tmp_path / "pieces", micro_batch=3)
    assert pieces == pytest.approx(whole, rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA: the GPU path was not run")
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("auto", 0.02)])
def test_cuda_trains_like_the_cpu(data, tmp_path, precision, tolerance):
    cpu = losses(data, tmp_path / "cpu")
    cuda = losses(data, tmp_path / "cuda", device="cuda", precision=precision)
    assert cuda == pytest.approx(cpu, rel=tolerance)


def test_an_unknown_device_is_named(data, tmp_path):
    with pytest.raises(DeviceError, match="device 'tpu9'"):
        train(data, settings(device="tpu9"), tmp_path)


def test_facts_are_json(data, tmp_path):
    train(data, settings(epochs=1), tmp_path)
    json.dumps(read_facts(tmp_path / "tail.safetensors"))
