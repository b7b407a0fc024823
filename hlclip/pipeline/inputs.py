"""Inputs of stages from `outputs/`, refused where they are of different runs.

DVC runs a stage after those that make its inputs. A stage that is run by hand may meet a file that
was made with other parameters or from other videos. The keys of items show it: the key of a video's
tokens is made from the key of its frames, and that key from the sha256 of the file.
"""

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypedDict

from hlclip.formats import Index, Manifest, check_origin, read_facts, read_index, read_manifests
from hlclip.params import Params
from hlclip.pipeline.missing import check_splits
from hlclip.store import content_key

INDEX = Path("outputs/index.json")
FRAMES = Path("outputs/frames.json")
ACTIVATIONS = Path("outputs/activations.json")
CHECKPOINT = Path("outputs/train.safetensors")


class Activations(TypedDict):
    """What `train` and `score` read."""

    index: Index
    images: Manifest
    texts: Manifest


def index_input(params: Params) -> Index:
    """The index, if it has the splits and the clip length of `params`.

    Raises:
        StaleFileError: it has others.
    """
    index = read_index(INDEX)
    check_origin(
        INDEX,
        {"data.clip_seconds": index.clip_seconds, "its splits": sorted(index.queries)},
        {
            "data.clip_seconds": params.data.clip_seconds,
            "its splits": sorted(params.data.annotations),
        },
    )
    return index


def frames_input(params: Params) -> tuple[Index, Manifest]:
    """The index, and the manifest of the frames of its videos.

    Raises:
        StaleFileError: one of them is of another run.
    """
    index = index_input(params)
    frames = read_manifests(FRAMES, "frames")["frames"]
    check_origin(FRAMES, frames.header, _frames_header(index, params))
    _check_videos(FRAMES, frames, index, _frame_keys(index, params))
    return index, frames


def activations_input(params: Params) -> Activations:
    """The index, and the manifests of the activations of its videos and queries.

    Raises:
        StaleFileError: one of them is of another run.
        TooManyMissingError: see `check_splits`.
    """
    index = index_input(params)
    manifests = read_manifests(ACTIVATIONS, "images", "texts")
    images, texts = manifests["images"], manifests["texts"]
    encoder = params.encoder.model_dump(include={"cached_blocks", "dtype"})
    for manifest in (images, texts):
        check_origin(ACTIVATIONS, manifest.header, encoder)
    frame_keys = _frame_keys(index, params).items()
    keys = {vid: content_key(images.header, key) for vid, key in frame_keys}
    _check_videos(ACTIVATIONS, images, index, keys)
    queries = {row.query for rows in index.queries.values() for row in rows}
    _check_names(ACTIVATIONS, "queries", texts.items.keys(), queries)
    check_splits(index, images.failed, params.needed_splits)
    return {"index": index, "images": images, "texts": texts}


def checkpoint_input(params: Params, images: Manifest) -> Path:
    """The checkpoint, if it was trained on such activations with these parameters.

    Raises:
        StaleFileError: it is of another run.
        CheckpointError: it is damaged.
    """
    facts = read_facts(CHECKPOINT)
    names = ("weights", "cached_blocks", "clip_seconds")
    check_origin(CHECKPOINT, facts, {name: images.header[name] for name in names})
    trained, wanted = (
        {f"train.{name}": value for name, value in ({"processes": 1} | section).items()}
        for section in (facts["train"], params.train.facts())
    )
    check_origin(CHECKPOINT, trained, wanted)
    return CHECKPOINT


def _frames_header(index: Index, params: Params) -> dict[str, Any]:
    settings = params.frames.model_dump(exclude={"decoder"})
    return {"clip_seconds": index.clip_seconds, **settings}


def _frame_keys(index: Index, params: Params) -> dict[str, str]:
    """vid -> key of the frames of its file."""
    header = _frames_header(index, params)
    return {vid: content_key(header, made_of) for vid, made_of in index.frame_contents().items()}


def _check_names(path: Path, what: str, found: Set[str], expected: Set[str]) -> None:
    """Refuse a manifest that has other videos or queries than the index; the message names them."""
    missing, more = f"{what} of {INDEX} that it lacks", f"{what} that {INDEX} lacks"
    differences = {missing: sorted(expected - found), more: sorted(found - expected)}
    check_origin(path, differences, {missing: [], more: []})


def _check_videos(path: Path, manifest: Manifest, index: Index, keys: Mapping[str, str]) -> None:
    """Refuse a manifest whose videos, made or failed, are not those of the index."""
    vids = manifest.items.keys() | manifest.failed.keys()
    _check_names(path, "videos", vids, index.clips().keys())

    def named(vid: str) -> str:
        return f"the key of {vid}, made from its file and the section frames,"

    found = {named(vid): item.key for vid, item in manifest.items.items()}
    check_origin(path, found, {named(vid): keys.get(vid) for vid in manifest.items})
