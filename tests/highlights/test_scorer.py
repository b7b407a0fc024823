"""The scorer gives the scores of the pipeline."""

import doctest
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import Index, Manifest, Video
from hlclip.formats.safetensors_file import (
    CheckpointError,
    read_arrays,
    read_facts,
    write_arrays,
)
from hlclip.highlights import features, moments, scorer
from hlclip.highlights.features import FeatureExtractor, load_feature_extractor
from hlclip.highlights.model_name import model_in_words
from hlclip.highlights.scorer import Scorer, load_scorer
from hlclip.model import (
    Encoder,
    EncoderError,
    Tail,
    build_tail,
    encoder_header,
    load_encoder,
    load_tail,
    save_tail,
    stored_tokens,
)
from hlclip.params import EncoderParams, FramesParams
from hlclip.pipeline.activations import make_activations
from hlclip.pipeline.frames import make_frames
from hlclip.store.store import Store
from hlclip.system.errors import HlclipError
from hlclip.video.container import probe
from hlclip.video.refusals import VideoError
from tests.damage import DAMAGES, of_another_key
from tests.films import copy, film
from tests.models import outlier_model, save_model, tiny_config

QUERIES = ["a red dog runs", "people talk"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """31 clips: one batch and a piece of another."""
    return film(tmp_path_factory.mktemp("film") / "v.mp4", seconds=62)


@pytest.fixture(scope="module")
def checkpoint(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training leaves it: every tensor of the last two blocks and heads moved a little."""
    encoder = load_encoder(model, None, cached_blocks=2)
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in build_tail(encoder).train_only(2, "all").trained().items()
    }
    header = encoder_header(encoder, None)
    facts = {
        **{name: header[name] for name in ("model", "pretrained", "weights")},
        "given": {"model": model},
        "cached_blocks": 2,
        "dtype": "float16",
        "clip_seconds": 2.0,
        "train": {"blocks": 2},
    }
    path = tmp_path_factory.mktemp("outputs") / "train.safetensors"
    save_tail(path, tensors, facts)
    return path


def pipeline(
    model: str, video: Path, store: Path, *, dtype: str = "float16"
) -> tuple[Manifest, Manifest]:
    """What the stages put into the store for a data set of this video."""
    sha256 = hashlib.sha256(video.read_bytes()).hexdigest()
    rows = [
        Annotation.model_validate({"qid": n, "vid": "v", "query": query, "duration": 62})
        for n, query in enumerate(QUERIES)
    ]
    index = Index(2.0, {"test": rows}, {"v": Video(video.name, sha256, probe(video))}, {})
    size = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
    frames = make_frames(index, size, data_root=video.parent, store=store, max_missing=0)
    params = EncoderParams.model_validate(
        {"model": model, "pretrained": None, "cached_blocks": 2, "dtype": dtype, "batch": 25}
    )
    return make_activations(index, frames, params, store=store)


def cosines(
    model: str, manifests: tuple[Manifest, Manifest], store: Path, checkpoint: Path | None
) -> np.ndarray:
    """[queries, clips] from the pipeline's cache."""
    images, texts = manifests
    encoder = load_encoder(model, None, cached_blocks=2)
    tail = build_tail(encoder)
    if checkpoint:
        load_tail(checkpoint, tail, weights=encoder.fingerprint())
    dtype = str(images.header["dtype"])
    tokens = stored_tokens(Store(store, "images", images.header).read(images.items["v"]), dtype)
    scores = []
    for query in QUERIES:
        words = stored_tokens(Store(store, "texts", texts.header).read(texts.items[query]), dtype)
        with torch.inference_mode():
            scores.append(
                tail(
                    tokens,
                    torch.zeros(len(tokens), dtype=torch.int64),
                    words[None],
                    torch.tensor([len(words)]),
                ).numpy()
            )
    return np.array(scores)


def files(store: Path) -> set[Path]:
    return {path for kind in ("images", "texts") for path in store.glob(f"{kind}/*/*.h5")}


def matrix(scorer: Scorer, video: Path) -> np.ndarray:
    return np.array([curve.saliency for curve in scorer.score(video, QUERIES)])


@pytest.mark.parametrize("tuned", [False, True], ids=["zero-shot", "tuned"])
def test_scores_and_keys_are_the_pipelines(
    tuned: bool, model: str, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    manifests = pipeline(model, video, tmp_path)
    stored = files(tmp_path)
    scorer = load_scorer(checkpoint if tuned else None, model=model, store=tmp_path, device="cpu")
    scores = matrix(scorer, video)
    assert files(tmp_path) == stored  # nothing was encoded twice
    name = f"local-dir:{Path(model).name}"  # the key of an item has no folder either
    words = f"{name}, {f'fine-tuned by {checkpoint}' if tuned else 'zero-shot'}"
    assert model_in_words(scorer.model) == words
    expected = cosines(model, manifests, tmp_path, checkpoint if tuned else None)
    assert scores.shape == (2, 31)
    np.testing.assert_allclose(scores, expected, atol=1e-6)


@pytest.fixture(scope="module")
def temporal(model: str, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with a temporal head whose output layer is not zero."""
    encoder = load_encoder(model, None, cached_blocks=2)
    tail = build_tail(encoder).add_temporal(width=8, kernel=5, depth=2, seed=0).train_only(2, "all")
    load_tail(checkpoint, tail, weights=encoder.fingerprint())
    assert tail.temporal is not None
    generator = torch.Generator().manual_seed(2)
    tail.temporal.out.data = torch.randn(tail.temporal.out.shape, generator=generator)
    path = tmp_path_factory.mktemp("temporal") / "train.safetensors"
    save_tail(path, tail.trained(), read_facts(checkpoint))
    return path


def test_a_temporal_head_gives_the_scores_of_the_pipeline(
    model: str,
    video: Path,
    checkpoint: Path,
    temporal: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where the tokens were encoded in parts: the head sees no seam."""
    manifests = pipeline(model, video, tmp_path)
    expected = cosines(model, manifests, tmp_path, temporal)
    assert np.abs(expected - cosines(model, manifests, tmp_path, checkpoint)).max() > 0.01
    first = matrix(load_scorer(temporal, store=tmp_path), video)
    np.testing.assert_allclose(first, expected, atol=1e-6)
    again = matrix(load_scorer(temporal, store=tmp_path), video)  # features from the store
    np.testing.assert_array_equal(again, first)
    monkeypatch.setattr(features, "PART_CLIPS", 25)
    parts = matrix(load_scorer(temporal, store=tmp_path / "parts"), video)
    assert len(list(tmp_path.glob("parts/images/*/*.h5"))) == 2
    np.testing.assert_allclose(parts, expected, atol=1e-6)


def test_a_temporal_head_takes_a_video_of_one_clip(
    temporal: Path, checkpoint: Path, tmp_path: Path
) -> None:
    short = film(tmp_path / "short.mp4", seconds=2)
    with_head, without = (
        matrix(load_scorer(path, store=tmp_path), short) for path in (temporal, checkpoint)
    )
    assert with_head.shape == (2, 1)
    assert np.abs(with_head - without).min() > 1e-4


def test_a_head_changes_no_stored_feature(
    temporal: Path, checkpoint: Path, video: Path, tmp_path: Path
) -> None:
    """The store keeps what the head starts from, so a query adds one item whatever the head."""
    kept = []
    for path in (checkpoint, temporal):
        store = tmp_path / path.parent.name
        matrix(load_scorer(path, store=store), video)
        arrays = []
        for file in sorted(store.glob("features/*/*.h5"), key=lambda file: file.stem[:28]):
            with h5py.File(file) as content:
                dataset: Any = content["data"]
                arrays.append(dataset[()])
        kept.append(arrays)
    assert [array.shape for array in kept[0]] == [array.shape for array in kept[1]]
    for plain, with_head in zip(*kept, strict=True):
        np.testing.assert_array_equal(plain, with_head)


def test_a_head_that_overflows_is_refused(temporal: Path, video: Path, tmp_path: Path) -> None:
    tensors = load_file(temporal)
    tensors["hlclip.temporal.out"].fill_(1e38)
    save_tail(tmp_path / "huge.safetensors", tensors, read_facts(temporal))
    with pytest.raises(CheckpointError, match=r"v\.mp4: its features have no length"):
        load_scorer(tmp_path / "huge.safetensors", store=tmp_path).score(video, QUERIES)


@pytest.mark.parametrize("tower", ["visual.proj", "text_projection"])
def test_features_that_overflow_are_refused_and_not_kept(
    model: str, video: Path, checkpoint: Path, tmp_path: Path, tower: str
) -> None:
    tensors = load_file(checkpoint)
    tensors[tower] = tensors[tower].fill_(1e38)  # finite, and its products are not
    save_tail(tmp_path / "huge.safetensors", tensors, read_facts(checkpoint))
    with pytest.raises(CheckpointError, match=r"its features have no length.*\ntrain again"):
        load_scorer(tmp_path / "huge.safetensors", store=tmp_path).score(video, QUERIES)
    kept = list(tmp_path.glob("features/*/*.h5"))
    assert len(kept) == (len(QUERIES) if tower == "visual.proj" else 0)  # queries come first


def with_facts(checkpoint: Path, path: Path, **changes: object) -> Path:
    """A copy of a checkpoint with other facts; None removes one."""
    facts, arrays = read_arrays(checkpoint)
    facts = {name: value for name, value in (facts | changes).items() if value is not None}
    write_arrays(path, arrays, facts)
    return path


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_checkpoint_knows_the_precision_of_its_cache(
    dtype: str, model: str, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    exact = with_facts(checkpoint, tmp_path / "exact.safetensors", dtype=dtype)
    manifests = pipeline(model, video, tmp_path, dtype=dtype)
    stored = files(tmp_path)
    scores = matrix(load_scorer(exact, store=tmp_path), video)
    assert files(tmp_path) == stored  # nothing was encoded twice
    expected = cosines(model, manifests, tmp_path, exact)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    matrix(load_scorer(exact, dtype="float16", store=tmp_path), video)
    assert len(files(tmp_path)) == 2 * len(stored)


def test_a_checkpoint_that_does_not_know_its_cache_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    path = with_facts(checkpoint, tmp_path / "old.safetensors", dtype=None)
    with pytest.raises(CheckpointError, match=r"no field 'dtype'.*\nname another checkpoint"):
        load_scorer(path, store=tmp_path)


@pytest.mark.parametrize("size", [1e2, 1e3, 6e4])
def test_outliers_pass_through_the_cache(size: float, video: Path, tmp_path: Path) -> None:
    model = outlier_model(tmp_path / "model", size)
    exact = matrix(load_scorer(model=model, dtype="float32", store=tmp_path / "float32"), video)
    half = matrix(load_scorer(model=model, store=tmp_path / "float16"), video)
    tokens = {}
    for dtype in ("float32", "float16"):
        (path,) = (tmp_path / dtype).glob("images/*/*.h5")
        with h5py.File(path) as file:
            dataset: Any = file["data"]
            tokens[dtype] = dataset[()]
    assert tokens["float32"].max() == pytest.approx(size, rel=0.05)
    np.testing.assert_array_equal(tokens["float16"], tokens["float32"].astype(np.float16))
    # From 1e4 on, float16 rounds that channel by more than the others hold in this narrow model.
    if size <= 1e3:
        assert np.abs(half - exact).max() < 0.1 * np.ptp(exact, axis=1).min()


def test_tokens_that_do_not_fit_into_float16_are_refused_with_the_option(
    video: Path, tmp_path: Path
) -> None:
    model = outlier_model(tmp_path / "model", 1e5)
    arguments = ["highlight", str(video), "a dog", "--model", model, "--out", str(tmp_path)]
    environment = {"HLCLIP_STORE": str(tmp_path / "store")}
    refused = CliRunner().invoke(app, arguments, env=environment)
    assert refused.exit_code == 2
    assert refused.stderr.endswith("into float16, which ends at 65,504\n--dtype bfloat16\n")
    for dtype in ("bfloat16", "float32"):
        wider = [*arguments, "--dtype", dtype]
        assert CliRunner().invoke(app, wider, env=environment).exit_code == 0


def test_the_pipeline_finds_what_scoring_left(model: str, video: Path, tmp_path: Path) -> None:
    load_scorer(model=model, store=tmp_path).score(video, QUERIES)
    stored = files(tmp_path)
    assert len(stored) == 3
    pipeline(model, video, tmp_path)
    assert files(tmp_path) == stored


def test_the_tuned_tail_gives_other_scores(
    model: str, video: Path, checkpoint: Path, tmp_path: Path
) -> None:
    tuned = matrix(load_scorer(checkpoint, store=tmp_path), video)
    zero_shot = matrix(load_scorer(model=model, store=tmp_path), video)
    assert np.abs(tuned - zero_shot).max() > 0.01
    assert len(list(tmp_path.glob("images/*/*.h5"))) == 1


def test_the_second_query_needs_no_image_tokens(model: str, video: Path, tmp_path: Path) -> None:
    first = matrix(load_scorer(model=model, store=tmp_path), video)
    for path in tmp_path.glob("images/*/*.h5"):
        path.unlink()
    np.testing.assert_array_equal(matrix(load_scorer(model=model, store=tmp_path), video), first)
    assert not list(tmp_path.glob("images/*/*.h5"))


def test_a_repeated_query_loads_no_torch(checkpoint: Path, video: Path, tmp_path: Path) -> None:
    expected = matrix(load_scorer(checkpoint, store=tmp_path / "store"), video)
    code = f"""if True:
        import sys
        from pathlib import Path
        import numpy as np
        import hlclip

        scorer = hlclip.load_scorer({str(checkpoint)!r}, store=Path({str(tmp_path / "store")!r}))
        curves = scorer.score({str(video)!r}, {QUERIES})
        np.save({str(tmp_path / "again.npy")!r}, [curve.saliency for curve in curves])
        assert not {{"torch", "open_clip"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "again.npy"), expected)


def test_a_model_is_loaded_again_when_a_file_of_it_changes(video: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    model = save_model(tmp_path / "model", tiny_config())
    first = matrix(load_scorer(model=model, store=store), video)
    save_model(tmp_path / "model", tiny_config(), seed=1)
    second = matrix(load_scorer(model=model, store=store), video)
    assert np.abs(first - second).max() > 0.01
    (tmp_path / "model" / "open_clip_model.safetensors").unlink()
    with pytest.raises(EncoderError, match="has no weights file"):
        load_scorer(model=model, store=store)


def test_a_model_that_changes_under_a_scorer_is_an_error(video: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", tiny_config())
    load_scorer(model=model, store=tmp_path / "store")
    scorer = load_scorer(model=model, store=tmp_path / "store")  # remembered, not loaded
    save_model(tmp_path / "model", tiny_config(), seed=1)
    with pytest.raises(HlclipError, match=r"files of the model have changed meanwhile\nrun again"):
        scorer.score(video, ["a dog"])


def test_a_video_replaced_while_the_model_loads_is_refused(
    model: str, video: Path, tmp_path: Path
) -> None:
    """Otherwise the tokens of one film lie under the key of another, and are served for ever."""
    path = copy(video, tmp_path / "v.mp4")
    other = film(tmp_path / "other.mp4", "-vf", "negate", seconds=62)
    expected = matrix(load_scorer(model=model, store=tmp_path / "reference"), video)
    loaded = load_feature_extractor(None, [(model, None)], device="cpu", dtype=None)

    def load() -> FeatureExtractor:
        copy(other, path)
        return loaded

    store = tmp_path / "store"
    with pytest.raises(VideoError, match=r"v\.mp4: changed while it was read"):
        Scorer(loaded.facts, load, store=store).score(path, [])
    copy(video, path)
    again = matrix(load_scorer(model=model, store=store), path)
    np.testing.assert_array_equal(again, expected)


def test_a_checkpoint_replaced_while_it_is_loaded_is_refused(
    model: str, checkpoint: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise features of the old checkpoint lie under the key of the new one."""
    path = copy(checkpoint, tmp_path / "train.safetensors")

    def train(encoder: Encoder) -> Tail:
        facts = read_facts(checkpoint)
        save_tail(path, build_tail(encoder).train_only(2, "all").trained(), facts)
        return build_tail(encoder)

    with monkeypatch.context() as context:
        context.setattr(features, "build_tail", train)
        with pytest.raises(HlclipError, match="files of the model have changed meanwhile"):
            load_scorer(path, store=tmp_path)
    scores = matrix(load_scorer(path, store=tmp_path), video)
    np.testing.assert_allclose(
        scores, matrix(load_scorer(model=model, store=tmp_path), video), atol=1e-6
    )


@pytest.mark.parametrize("place", ["a file", "a folder"])
def test_model_facts_that_cannot_be_written_are_a_warning(
    model: str, video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    expected = matrix(load_scorer(model=model, store=tmp_path), video)
    (memory,) = tmp_path.glob("models/*.json")
    if place == "a folder":
        memory.unlink()
        memory.mkdir()
        (memory / "mine").touch()
    else:
        shutil.rmtree(memory.parent)
        memory.parent.touch()
    scores = matrix(load_scorer(model=model, store=tmp_path), video)
    np.testing.assert_array_equal(scores, expected)
    assert f"{memory}: not saved, the next command loads the model again" in caplog.text


def test_damaged_model_facts_are_ignored(model: str, video: Path, tmp_path: Path) -> None:
    expected = matrix(load_scorer(model=model, store=tmp_path), video)
    (memory,) = tmp_path.glob("models/*.json")
    for content in ("", "[]", "{}", '{"files": {}, "model": {}}', '{"files": 1}'):
        memory.write_text(content)
        scores = matrix(load_scorer(model=model, store=tmp_path), video)
        np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage is not of_another_key])
def test_damage_in_the_store_is_repaired(
    damage: Callable[[Path, np.random.Generator], None], model: str, video: Path, tmp_path: Path
) -> None:
    scorer = load_scorer(model=model, store=tmp_path)
    expected = matrix(scorer, video)
    for kind in ("features", "images", "texts"):
        if kind == "images":
            for path in tmp_path.glob("features/*/*.h5"):
                path.unlink()
        for path in tmp_path.glob(f"{kind}/*/*.h5"):
            damage(path, np.random.default_rng(1))
        np.testing.assert_array_equal(
            matrix(load_scorer(model=model, store=tmp_path), video), expected
        )


def test_a_query_is_never_scored_by_another_querys_file(
    model: str, video: Path, tmp_path: Path
) -> None:
    scorer = load_scorer(model=model, store=tmp_path)
    expected = matrix(scorer, video)
    for kind in ("features", "texts"):
        files = sorted(tmp_path.glob(f"{kind}/*/*.h5"))
        content = [path.read_bytes() for path in files]
        for path, another in zip(files, [*content[1:], content[0]], strict=True):
            path.write_bytes(another)
        if kind == "texts":
            for path in tmp_path.glob("features/*/*.h5"):
                path.unlink()
        again = matrix(load_scorer(model=model, store=tmp_path), video)
        np.testing.assert_array_equal(again, expected)
        assert [path.read_bytes() for path in files] == content


def test_the_checkpoint_of_the_run_here_is_the_default(
    checkpoint: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HlclipError, match=r"outputs.train\.safetensors: no such file"):
        load_scorer()
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "train.safetensors").write_bytes(checkpoint.read_bytes())
    scores = matrix(load_scorer(store=tmp_path), video)
    np.testing.assert_array_equal(scores, matrix(load_scorer(checkpoint, store=tmp_path), video))


def test_a_moved_model_can_be_named_with_its_checkpoint(
    checkpoint: Path, video: Path, model: str, tmp_path: Path
) -> None:
    moved = save_model(tmp_path / "moved", tiny_config())
    scores = matrix(load_scorer(checkpoint, model=moved, store=tmp_path), video)
    np.testing.assert_array_equal(scores, matrix(load_scorer(checkpoint, store=tmp_path), video))


def test_a_model_with_other_weights_than_the_checkpoint_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    other = save_model(tmp_path / "other", tiny_config(), seed=1)
    with pytest.raises(CheckpointError, match="field 'weights' is"):
        load_scorer(checkpoint, model=other, store=tmp_path)


def test_models_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="must name a tag or weights file for 'ViT-B-32'"):
        load_scorer(model="ViT-B-32", store=tmp_path)
    with pytest.raises(HlclipError, match="no folder /nowhere"):
        load_scorer(model="local-dir:/nowhere", store=tmp_path)


def test_bad_videos_and_queries_are_named(model: str, tmp_path: Path) -> None:
    scorer = load_scorer(model=model, store=tmp_path)
    text = tmp_path / "notes.mp4"
    text.write_text("no video")
    with pytest.raises(VideoError, match=rf"^{text}: not readable as a video"):
        scorer.score(text, QUERIES)
    with pytest.raises(VideoError, match=r"none\.mp4: no such file"):
        scorer.score(tmp_path / "none.mp4", QUERIES)
    short = film(tmp_path / "short.mp4", seconds=0.5)
    with pytest.raises(VideoError, match=rf"^{short}: no frame could be decoded: shorter than"):
        scorer.score(short, QUERIES)
    with pytest.raises(HlclipError, match="blank query"):
        scorer.score(short, [" "])


def test_a_single_text_is_one_query(model: str, video: Path, tmp_path: Path) -> None:
    scorer = load_scorer(model=model, device="cpu", store=tmp_path)
    (curve,) = scorer.score(video, "the sky")
    (listed,) = scorer.score(video, ["the sky"])
    assert curve.query == "the sky"
    np.testing.assert_array_equal(curve.saliency, listed.saliency)


@pytest.mark.parametrize("query", [7, b"a dog", "caf\udce9", "a\0 \0d\0"])
def test_what_is_no_text_is_no_query(
    query: object, model: str, video: Path, tmp_path: Path
) -> None:
    scorer = load_scorer(model=model, device="cpu", store=tmp_path)
    with pytest.raises(HlclipError, match="as a query, expected"):
        scorer.score(video, ["a dog", query])  # pyright: ignore[reportArgumentType] (refused)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "ViT-B-3"}, "open_clip has no model 'ViT-B-3'\nnear it: ViT-B-32"),
        ({"model": "local-dir:/no/where"}, "model local-dir:/no/where: no folder /no/where"),
        ({"checkpoint": "none"}, "none: no such checkpoint"),
    ],
    ids=["model", "folder", "checkpoint"],
)
def test_a_mistyped_name_is_refused_without_torch(
    arguments: dict[str, str], message: str, tmp_path: Path
) -> None:
    code = "import sys; from hlclip import load_scorer\ntry: load_scorer(**{})\n"
    code += "except ValueError as error: print(error, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{}", str(arguments))],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HLCLIP_STORE": str(tmp_path)},
    )
    assert done.stdout.startswith(message)
    assert done.stdout.endswith("False\n")


def test_the_examples_in_the_docstrings_run(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HLCLIP_STORE", "store")
    film(tmp_path / "holiday.mp4", seconds=24)
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "train.safetensors").write_bytes(checkpoint.read_bytes())
    for module in (scorer, moments):
        results = doctest.testmod(module)
        assert results.attempted >= 2
        assert results.failed == 0


def test_real_footage(footage_dir: Path, model: str, tmp_path: Path) -> None:
    scorer = load_scorer(model=model, store=tmp_path)
    path = footage_dir / "videos" / "tears_of_steel_battle.webm"
    (curve,) = scorer.score(path, ["a robot"])
    assert curve.saliency.shape == (35,)
    assert curve.duration == pytest.approx(70.542, abs=0.01)
    assert np.abs(curve.saliency).max() <= 1
