"""Files between stages that are of different runs: each stage refuses them and names the file."""

import json
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hlclip.formats import (
    Annotation,
    Index,
    Item,
    Manifest,
    StaleFileError,
    Video,
    VideoInfo,
    pack,
    write_arrays,
    write_index,
    write_manifests,
    write_scores,
)
from hlclip.model import DeviceError
from hlclip.params import Params, load_params
from hlclip.pipeline.evaluate import scores_input
from hlclip.pipeline.inputs import (
    Activations,
    activations_input,
    checkpoint_input,
    frames_input,
    index_input,
)
from hlclip.pipeline.missing import TooManyMissingError
from hlclip.store import content_key
from hlclip.video import frames_header

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")
GONE = {"gone": "no file"}


def index(**changes: Any) -> Index:
    rows = {
        split: [
            Annotation(qid=n, query=f"query {n} of {split}", vid=vid, duration=8)
            for n, vid in enumerate((f"{split} a", f"{split} b"))
        ]
        for split in ("train", "val", "test")
    }
    rows["train"].append(Annotation(qid=9, query="lost", vid="gone", duration=8))
    vids = [row.vid for part in rows.values() for row in part if row.vid != "gone"]
    videos = {vid: Video(f"{vid}.mp4", f"hash of {vid}", VideoInfo(8, 1, 1, "")) for vid in vids}
    return replace(Index(2.0, rows, videos, GONE), **changes)


def changed(params: Params, key: str, value: object) -> Params:
    section, name = key.split(".")
    part = getattr(params, section).model_copy(update={name: value})
    return params.model_copy(update={section: part})


def item(key: str) -> Item:
    return Item(key, "0" * 32, 4)


def finish(of: Index, params: Params) -> None:
    """Every file between two stages, as a run of the pipeline leaves them in this folder."""
    encoder: dict[str, str | int | float] = {"model": "m", "pretrained": "none", "weights": "w"}
    encoder["cached_blocks"] = params.encoder.cached_blocks
    header = frames_header(
        **params.frames.model_dump(exclude={"decoder"}), clip_seconds=of.clip_seconds
    )
    frames = {vid: item(content_key(header, v.sha256)) for vid, v in of.videos.items()}
    texts = encoder | {"dtype": params.encoder.dtype}
    images = texts | {"clip_seconds": of.clip_seconds}
    encoded = {vid: item(content_key(images, frame.key)) for vid, frame in frames.items()}
    queries = {row.query for rows in of.queries.values() for row in rows}
    spoken = {query: item(content_key(texts, query)) for query in queries}
    write_index(Path("outputs/index.json"), of)
    write_manifests(Path("outputs/frames.json"), frames=Manifest(header, frames, of.missing))
    write_manifests(
        Path("outputs/activations.json"),
        images=Manifest(images, encoded, of.missing),
        texts=Manifest(texts, spoken, {}),
    )
    facts = encoder | {"clip_seconds": of.clip_seconds}
    train = params.train.facts()
    write_arrays(Path("outputs/train.safetensors"), {}, facts | {"train": train})
    tuned = f"HL-CLIP-{params.train.blocks}"
    tuned += "" if params.train.temporal == "none" else "+conv"
    cosines = {"zero-shot": {0: np.ones(4, np.float32)}, tuned: {}}
    scores = {split: pack(of.queries[split], cosines) for split in params.evaluate.splits}
    write_scores(Path("outputs/score.safetensors"), scores)


def read_all(params: Params) -> Activations:
    """What the stages read, in their order."""
    index_input(params)
    frames_input(params)
    activations = activations_input(params)
    checkpoint_input(params, activations["images"])
    scores_input(params)
    return activations


def test_the_files_of_one_run_belong_together(tmp_path: Path) -> None:
    with chdir(tmp_path):
        finish(index(), PARAMS)
        assert read_all(PARAMS)["index"] == index()


REPLACED = Video("val a.mp4", "hash of another film", VideoInfo(8, 1, 1, ""))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("index", lambda p: changed(p, "data.clip_seconds", 1.0), "data.clip_seconds is 2.0"),
        ("index", lambda p: changed(p, "data.annotations", {"val": "v"}), "splits is ['test', 't"),
        ("frames", lambda p: changed(p, "frames.size", 224), "size is 64, expected 224"),
        ("activations", lambda p: changed(p, "encoder.cached_blocks", 3), "cached_blocks is 2"),
        ("activations", lambda p: changed(p, "encoder.dtype", "float32"), "dtype is 'float16'"),
        ("train", lambda p: changed(p, "train.lr", 0.5), "train.lr is 0.0003, expected 0.5"),
        ("train", lambda p: changed(p, "train.blocks", 1), "train.blocks is 2, expected 1"),
        ("score", lambda p: changed(p, "evaluate.splits", ["val"]), "evaluate.splits is ['val', "),
    ],
)
def test_a_file_of_other_parameters_is_named(
    tmp_path: Path, name: str, change: Callable[[Params], Params], said: str
) -> None:
    with chdir(tmp_path):
        finish(index(), PARAMS)
        with pytest.raises(StaleFileError) as caught:
            read_all(change(PARAMS))
    assert caught.value.reason.startswith(f"outputs/{name}.")
    assert said in caught.value.reason
    # DVC finds nothing to do after `dvc commit` of parameters that did not run.
    assert "`dvc repro` makes" in caught.value.remedy()
    assert "`dvc repro --force` makes" in caught.value.remedy()


def test_heads_alone_that_train_have_scores_of_their_own(tmp_path: Path) -> None:
    params = changed(changed(PARAMS, "train.blocks", 0), "encoder.cached_blocks", 0)
    with chdir(tmp_path):
        finish(index(), params)
        assert list(scores_input(params)["val"].cosines) == ["zero-shot", "HL-CLIP-0"]


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_temporal_head_has_scores_of_its_own(tmp_path: Path, blocks: int) -> None:
    params = changed(changed(PARAMS, "train.blocks", blocks), "train.temporal", "conv")
    with chdir(tmp_path):
        finish(index(), params)
        assert list(scores_input(params)["val"].cosines) == ["zero-shot", f"HL-CLIP-{blocks}+conv"]
        with pytest.raises(StaleFileError, match=r"outputs/score\.safetensors: .*variants is"):
            scores_input(changed(params, "train.temporal", "none"))


def test_a_parameter_that_changes_no_result_is_free(tmp_path: Path) -> None:
    with chdir(tmp_path):
        finish(index(), PARAMS)
        others = (("train.device", "cuda:3"), ("frames.decoder", "pyav"), ("pool.window", 7))
        for key, value in others:
            read_all(changed(PARAMS, key, value))


@pytest.mark.parametrize("name", ["cuda:99", "mps"])
@pytest.mark.parametrize("stage", ["activations", "train", "score"])
def test_a_stage_that_computes_takes_the_named_device(
    stage: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has mps")
    monkeypatch.setenv("HLCLIP_STORE", str(tmp_path / "store"))
    params = changed(PARAMS, "train.device", name)
    with chdir(tmp_path):
        finish(index(), params)
        Path("params.yaml").write_text(json.dumps(params.model_dump()))
        with pytest.raises(DeviceError, match=f"device '{name}' cannot be used") as caught:
            import_module(f"stages.{stage}").main()
        assert "this machine has auto, cpu" in caught.value.remedy()


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        (["index"], "frames", "the key of val a"),
        (["index", "frames"], "activations", "the key of val a"),
    ],
)
def test_a_replaced_video_is_named(tmp_path: Path, files: list[str], name: str, said: str) -> None:
    """`files` are of a run after the replacement, the others of one before."""
    with chdir(tmp_path):
        finish(index(videos=index().videos | {"val a": REPLACED}), PARAMS)
        newer = {file: Path(f"outputs/{file}.json").read_bytes() for file in files}
        finish(index(), PARAMS)
        for file, content in newer.items():
            Path(f"outputs/{file}.json").write_bytes(content)
        with pytest.raises(StaleFileError) as caught:
            read_all(PARAMS)
    assert caught.value.reason.startswith(f"outputs/{name}.")
    assert said in caught.value.reason


@pytest.mark.parametrize(
    ("update", "name", "said"),
    [
        ({"vid": "val b"}, "frames", "videos that outputs/index.json lacks is ['val a']"),
        ({"query": "another query"}, "activations", "json that it lacks is ['another query']"),
    ],
)
def test_other_annotations_are_named(
    tmp_path: Path, update: dict[str, str], name: str, said: str
) -> None:
    first, *rest = index().queries["val"]
    queries = index().queries | {"val": [first.model_copy(update=update), *rest]}
    with chdir(tmp_path):
        finish(index(), PARAMS)
        write_index(Path("outputs/index.json"), index(queries=queries))
        with pytest.raises(StaleFileError) as caught:
            read_all(PARAMS)
    assert caught.value.reason.startswith(f"outputs/{name}.")
    assert said in caught.value.reason


@pytest.mark.parametrize("fact", ["weights", "cached_blocks", "clip_seconds"])
def test_a_checkpoint_of_other_activations_is_named(tmp_path: Path, fact: str) -> None:
    path = Path("outputs/train.safetensors")
    facts = {"weights": "w", "cached_blocks": 2, "clip_seconds": 2.0, fact: 5}
    with chdir(tmp_path):
        finish(index(), PARAMS)
        train = PARAMS.train.facts()
        write_arrays(path, {}, facts | {"train": train})
        with pytest.raises(StaleFileError, match=f"^{path}: .* {fact} is 5, expected"):
            read_all(PARAMS)


@pytest.mark.parametrize(("trained", "wanted"), [(1, 2), (2, 1)])
def test_a_checkpoint_of_another_number_of_processes_is_named(
    tmp_path: Path, trained: int, wanted: int
) -> None:
    facts = {"weights": "w", "cached_blocks": 2, "clip_seconds": 2.0}
    params, other = (
        PARAMS.model_copy(
            update={"train": PARAMS.train.model_copy(update={"processes": processes})}
        )
        for processes in (trained, wanted)
    )
    with chdir(tmp_path):
        finish(index(), params)
        facts |= {"train": params.train.facts()}
        write_arrays(Path("outputs/train.safetensors"), {}, facts)
        said = f"train.processes is {trained}, expected {wanted}"
        with pytest.raises(StaleFileError, match=said):
            read_all(other)


@pytest.mark.parametrize(
    ("split", "change", "said"),
    [
        ("test", {}, "evaluate.splits names it"),
        ("train", {}, "train.blocks is 2"),
        ("train", {"train.blocks": 0, "train.temporal": "conv"}, "train.temporal is conv"),
        ("train", {"train.blocks": 0, "encoder.cached_blocks": 0}, "train.heads is all"),
        ("val", {"evaluate.splits": ["test"]}, "train.select is best"),
        ("val", {"evaluate.splits": ["test"], "train.select": "last"}, None),
        ("val", {"evaluate.splits": ["test"], "train.blocks": 0}, None),
        ("train", {"train.blocks": 0}, None),
    ],
)
def test_a_split_without_video_ends_the_run_before_training(
    tmp_path: Path, split: str, change: dict[str, object], said: str | None
) -> None:
    lost = {row.vid: "no file" for row in index().queries[split]}
    videos = {vid: video for vid, video in index().videos.items() if vid not in lost}
    params = PARAMS
    for key, value in change.items():
        params = changed(params, key, value)
    with chdir(tmp_path):
        finish(index(videos=videos, missing=GONE | lost), params)
        if said is None:
            activations_input(params)
            return
        with pytest.raises(TooManyMissingError) as caught:
            activations_input(params)
    vids = {row.vid for row in index().queries[split]}
    assert f"none of the {len(vids)} videos of {split} can be used" in caught.value.reason
    assert said in caught.value.reason
    assert f"{min(vids)}: no file" in caught.value.reason
