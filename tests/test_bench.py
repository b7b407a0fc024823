"""How pairs are measured and shown; what is measured equals what it is measured against."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import ablation, epoch, generic, scale
from bench.__main__ import markdown
from bench.pages import replace_table
from bench.pairs import Measured, Pair, measure
from bench.siglip import random_batch
from bench.training import Step, full_blocks_step, naive_step
from hlclip import load_scorer
from hlclip.evaluation import ground_truth
from hlclip.formats import Annotation
from hlclip.model import Encoder, build_tail, load_encoder
from hlclip.params import load_params
from hlclip.training.batches import Batch
from sample.films import Film, plan_film
from sample.render import render
from tests.films import film
from tests.models import built, save_model, small_timm, tiny_config


def pair(turns: list[str], **target: float) -> Measured:
    clock = iter(np.cumsum([0, 0.1] * 100).tolist())
    return measure(
        Pair(
            "a case",
            "the naive way",
            lambda: turns.append("ours"),
            lambda: turns.append("naive"),
            rounds=3,
            timer=lambda: next(clock),
            **target,
        )
    )


def test_both_are_measured_in_turns_after_a_warm_up() -> None:
    turns: list[str] = []
    measured = pair(turns, least_ratio=0.9)
    assert turns == ["ours", "naive"] * 4
    assert len(measured.ours.get_values()) == len(measured.against.get_values()) == 3
    assert measured.met


def test_targets() -> None:
    assert not pair([], least_ratio=1.5).met
    assert pair([], most_seconds=0.2).met
    assert not pair([], most_seconds=0.05).met
    assert pair([], most_seconds=0.05).target == "<= 0.05 s"


def test_the_table() -> None:
    growth = [{"videos": 10, "stage": "frames", "seconds": 1.0, "peak MB": 5}]
    text = markdown([pair([], least_ratio=1.5)], growth)
    assert "| a case " in text
    assert "| 1.00x   | >= 1.5x  | no " in text
    assert "| frames  | 1.00 s, 5 MB |" in text


def test_the_steps_that_are_compared_train_the_same(tmp_path) -> None:
    """One step of each from the same weights moves all of them alike."""
    torch.manual_seed(0)
    name = save_model(tmp_path, tiny_config())
    images = torch.randn(6, 3, 32, 32)
    moved = []
    for way in ("ours", "naive", "full blocks"):
        encoder = load_encoder(name, None, cached_blocks=2)
        ids = encoder.tokenizer(["a dog runs", "a cat"])
        batch = cached(encoder, images)
        tail = build_tail(encoder).train_only(2, "all")
        if way == "ours":
            Step(tail)(batch)
            moved.append(tail.trained())
        else:
            step = (
                naive_step(encoder, 2, images, ids, batch)
                if way == "naive"
                else full_blocks_step(encoder, batch)
            )
            step()
            names = tail.trained().keys()
            weights = dict(encoder.model.named_parameters())
            moved.append({name: weights[name] for name in names})
    for other in moved[1:]:
        for name, weight in moved[0].items():
            both = weight.detach(), other[name].detach()
            if name.endswith("in_proj_bias"):  # rounding alone moves the key's third
                both = tuple(bias.view(3, -1)[[0, 2]] for bias in both)
            torch.testing.assert_close(*both, rtol=1e-3, atol=2e-4, msg=name)


def test_the_steps_of_a_timm_tower_train_the_same() -> None:
    """Two full blocks and timm's pool move every weight as hlclip's tail does."""
    timm = small_timm(
        "vit_base_patch16_siglip_224", depth=3, img_size=32, embed_dim=32, num_heads=2
    )
    vision = {"timm_model_name": timm, "image_size": 32, "timm_pool": "map", "timm_proj": "none"}
    both = {"no_causal_mask": True, "pool_type": "last"}
    config = {**tiny_config(), "custom_text": True, "embed_dim": 32, "vision_cfg": vision}
    config["text_cfg"] |= both
    moved = []
    for ours in (True, False):
        torch.manual_seed(0)
        model = built(config)
        encoder = Encoder(model, None, name="tiny", cached_blocks=2)
        batch = random_batch(encoder, 2, 3)
        tail = build_tail(encoder).train_only(2, "all")
        if ours:
            Step(tail)(batch)
            moved.append(tail.trained())
        else:
            full_blocks_step(encoder, batch)()
            moved.append({n: p for n, p in model.named_parameters() if n in tail.trained()})
    for name, weight in moved[0].items():
        both = weight.detach(), moved[1][name].detach()
        if re.search(r"(in_proj|qkv|kv)\.?_?bias$", name):  # rounding alone moves the key's part
            parts = 2 if name.endswith(".kv.bias") else 3
            keep = [1] if parts == 2 else [0, 2]
            both = tuple(bias.view(parts, -1)[keep] for bias in both)
        torch.testing.assert_close(*both, rtol=1e-3, atol=2e-4, msg=name)


def cached(encoder, images: torch.Tensor) -> Batch:
    with torch.no_grad():
        tokens = encoder.model.visual._embeds(images)
        for block in encoder.model.visual.transformer.resblocks[:-2]:
            tokens = block(tokens)
    texts = [encoder.text_tokens(query) for query in ("a dog runs", "a cat")]
    return Batch(
        tokens,
        torch.tensor([0, 0, 0, 1, 1, 1]),
        torch.nn.utils.rnn.pad_sequence(texts, batch_first=True),
        torch.tensor([len(text) for text in texts]),
        torch.linspace(0, 1, 6),
        ~torch.eye(2, dtype=torch.bool),
    )


def test_an_epoch_and_what_the_device_can_do(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    """The benchmark for a GPU, on the CPU with a small model: its figures mean nothing."""
    name = save_model(tmp_path / "model", tiny_config())
    epoch.main(queries=16, videos=4, epochs=1, device="cpu", model=name, folder=tmp_path)
    shown = capsys.readouterr().out
    assert "16 x 75, 8" in shown
    share = re.search(r"share of the limit \(goal 40%\) +\| (\d+)%", shown)
    assert share is not None
    assert 0 <= int(share[1]) <= 100
    assert re.search(r"TFLOP/s, of peak +\| [\d.e-]+ of [\d.e-]+ \(", shown)


def test_every_row_of_the_ablation_is_a_valid_run() -> None:
    base = load_params()
    for rows, models in ablation.TABLES.values():
        for row in rows:
            for model in models:
                ablation.changed(base, {**row, "encoder.model": model})


def test_the_ablation_trains_each_row_with_each_seed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(vid: str, seed: tuple[int, ...], *, seconds: int | None) -> Film:
        return plan_film(vid, seed, seconds=12)

    monkeypatch.setattr("sample.render.plan_film", short)
    render(tmp_path / "data", {"train": 3, "val": 2, "test": 2}, workers=1)
    model = save_model(tmp_path / "tiny", tiny_config())
    small = {"data.root": str(tmp_path / "data"), "frames.size": 32, "train.epochs": 1}
    base = ablation.changed(load_params(), {**small, "train.batch": 2})
    rows: list[ablation.Change] = [{}, {"train.blocks": 1}]

    def measure() -> ablation.Figures:
        return ablation.measure_rows(base, rows, [model], seeds=[0, 1], store=tmp_path / "store")

    figures = measure()
    assert list(figures) == ["zero-shot", "none", "`train.blocks=1`"]
    heads = ["`tiny`, val", "`tiny`, test"]
    assert all(list(columns) == heads for columns in figures.values())
    assert [len(figures[name][heads[0]]) for name in figures] == [1, 2, 2]
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/training/*")}
    assert len(trained) == 4
    assert measure() == figures
    assert trained == {path: path.stat().st_mtime_ns for path in tmp_path.glob("store/training/*")}


def test_the_ablation_shows_mean_and_standard_deviation(tmp_path: Path) -> None:
    runs = [{"mAP": 40.0, "HIT@1": 60.0}, {"mAP": 42.0, "HIT@1": 60.0}]
    text = ablation.markdown({"zero-shot": {"val": runs[:1]}, "none": {"val": runs}}, seeds=2)
    assert re.search(r"\| zero-shot +\| 40\.00 / 60\.00 +\|", text)
    assert "41.00 ± 1.41 / 60.00 ± 0.00" in text
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: losses -->\nold\n<!-- end of table -->\nb\n")
    replace_table(page, "losses", text)
    assert page.read_text() == f"a\n<!-- table: losses -->\n\n{text}\n<!-- end of table -->\nb\n"
    with pytest.raises(ValueError, match="no line <!-- table: parameters -->"):
        replace_table(page, "parameters", text)


def test_the_table_of_large_data_sets_is_that_of_today() -> None:
    rows = scale.costs(10_000)
    assert rows["store: activations"] == "57.8 GB"
    assert rows["`activations`: CPU time"] == "18 h"
    assert rows["files in the store"] == "30,000"
    assert scale.table() in scale.PAGE.read_text(encoding="utf-8")


def test_rules_without_a_query_are_measured_like_the_query(tmp_path: Path) -> None:
    long, short = (
        film(tmp_path / f"{name}.mp4", "-vf", f"hue=h={hue}", seconds=seconds)
        for name, hue, seconds in (("a", 0, 12), ("b", 90, 6))
    )
    scorer = load_scorer(
        model=save_model(tmp_path / "model", tiny_config()), device="cpu", store=tmp_path / "store"
    )
    rows = [
        Annotation.model_validate(
            {
                "qid": qid,
                "query": "a dog",
                "vid": video.stem,
                "duration": 2 * clips,
                "relevant_clip_ids": [1, 2],
                "saliency_scores": [[4, 4, 4], [4, 4, 4]],
                "relevant_windows": [[2, 6]],
            }
        )
        for qid, (video, clips) in enumerate([(long, 6), (short, 3)])
    ]
    table = generic.measure_rules(scorer, rows, [long, short])
    assert list(table)[:2] == ["random", "mean cosine with 6 prompts"]
    assert set(generic.RULES) < set(table)
    names = {
        f"{level} {name}" for level in ("Fair", "Good", "VeryGood") for name in ("mAP", "HIT@1")
    }
    assert all(set(figures) == names for figures in table.values())
    query = [scorer.score(video, "a dog")[0].saliency for video in (long, short)]
    expected = generic._figures(ground_truth(rows), query)
    assert table["the annotated query"] == {name: f"{each:.2f}" for name, each in expected.items()}


def test_local_dissimilarity_times_global_consistency_is_that_of_a_loop() -> None:
    features = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    local, consistent = [], []
    for clip, one in enumerate(features):
        squares = [float(((one - other) ** 2).sum()) for other in features]
        others = sorted(square for n, square in enumerate(squares) if n != clip)
        local.append(sum(others[:2]) / 2)
        consistent.append(np.log(np.mean(np.exp(-2 * np.array(squares)))))
    low, high = np.array(local), np.array(consistent)
    naive = (low - low.min()) / np.ptp(low) * (high - high.min()) / np.ptp(high)
    np.testing.assert_allclose(generic.dissimilar_and_consistent(features), naive, atol=1e-5)
