"""The small JSON files between stages, tracked by DVC: the index and the manifests.

Sorted, without time stamps or absolute paths: same content, same bytes.
"""

import json
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hlclip.formats.annotations import Annotation
from hlclip.formats.data_sets import Clips
from hlclip.formats.validation import problems_of, refusing_damage
from hlclip.system import write_json

Header = Mapping[str, str | int | float]


@dataclass(frozen=True)
class VideoInfo:
    """Facts of a video's first real stream (cover pictures are not videos)."""

    duration: float
    """Seconds, from the container; measured from the packets where its header does not say."""
    width: int
    """Pixels as coded, before rotation and sample aspect ratio."""
    height: int
    codec: str


@dataclass(frozen=True)
class Video:
    """One usable video file."""

    path: str
    """Relative to the data set's root."""
    sha256: str
    """Of the file's bytes; part of the key of its frames."""
    info: VideoInfo


@dataclass(frozen=True)
class Index:
    """The data set as every later stage sees it."""

    clip_seconds: float
    queries: dict[str, list[Annotation]]
    """Split -> rows in file order, rows without a usable video included."""
    videos: dict[str, Video]
    """vid -> file."""
    missing: dict[str, str]
    """vid -> reason why it has no usable video."""

    def clips(self) -> dict[str, int]:
        """vid -> most clips in its annotations, for every vid of the data set, sorted."""
        clips: dict[str, int] = {}
        for rows in self.queries.values():
            for row in rows:
                clips[row.vid] = max(clips.get(row.vid, 0), row.clips)
        return dict(sorted(clips.items()))

    def clips_apart(self) -> dict[str, Clips]:
        """vid -> its clips, for every video whose clips are not those of `clip_seconds`."""
        rows = (row for rows in self.queries.values() for row in rows)
        return {row.vid: row.clips_apart for row in rows if row.clips_apart is not None}

    def part(self, vids: Set[str]) -> "Index":
        """The same data set without the other videos and their rows."""
        return Index(
            self.clip_seconds,
            {
                split: [row for row in rows if row.vid in vids]
                for split, rows in self.queries.items()
            },
            {vid: video for vid, video in self.videos.items() if vid in vids},
            {vid: reason for vid, reason in self.missing.items() if vid in vids},
        )

    def texts(self) -> list[str]:
        """The queries of all rows, each once, sorted."""
        return sorted({row.query for rows in self.queries.values() for row in rows})

    def frame_contents(self) -> dict[str, str]:
        """vid -> what the key of its frames is made from: the file, and clips where they are apart.

        For every video that has a file.
        """
        apart = {vid: f" {json.dumps(clips)}" for vid, clips in self.clips_apart().items()}
        return {vid: video.sha256 + apart.get(vid, "") for vid, video in self.videos.items()}


@dataclass(frozen=True)
class Item:
    """An entry of a manifest: one item of the store."""

    key: str
    digest: str
    """xxh3_128 of the array's bytes."""
    length: int
    """Size of the first axis: frames of a video, tokens of a query."""


@dataclass(frozen=True)
class Manifest:
    """The items that a stage put into the store, and the videos that failed."""

    header: dict[str, str | int | float]
    """Facts that all items share; each file in the store repeats them."""
    items: dict[str, Item]
    """vid or query -> item."""
    failed: dict[str, str]
    """vid -> reason."""

    def as_json(self) -> dict[str, Any]:
        return {
            "header": dict(sorted(self.header.items())),
            "items": {name: asdict(self.items[name]) for name in sorted(self.items)},
            "failed": dict(sorted(self.failed.items())),
        }


def write_index(path: Path, index: Index) -> None:
    """Write the index."""
    videos, missing = dict(sorted(index.videos.items())), dict(sorted(index.missing.items()))
    ordered = replace(index, videos=videos, missing=missing)
    write_json(path, TypeAdapter(Index).dump_python(ordered, mode="json", exclude_none=True))


def read_index(path: Path) -> Index:
    """Read what `write_index` wrote.

    Raises:
        DamagedFileError: it is damaged.
    """
    with refusing_damage(path, path.stem):
        content = json.loads(path.read_bytes())
        context = {"clip_seconds": content["clip_seconds"]}
        return TypeAdapter(Index).validate_python(content, context=context)


def write_manifests(path: Path, **manifests: Manifest) -> None:
    """Write named manifests to one file."""
    write_json(path, {name: manifest.as_json() for name, manifest in manifests.items()})


def read_manifests(path: Path, *names: str) -> dict[str, Manifest]:
    """Read what `write_manifests` wrote: the manifests of these names.

    Raises:
        DamagedFileError: it is damaged, or holds others.
    """
    with refusing_damage(path, path.stem):
        manifests = parse_manifests(path.read_bytes())
        if set(manifests) != set(names):
            raise ValueError(f"it holds {sorted(manifests)}, not {sorted(names)}")
        return manifests


def parse_manifests(text: bytes) -> dict[str, Manifest]:
    """Manifests by name, from what `write_manifests` wrote.

    Raises:
        ValueError: they are damaged; the message is one line.
    """
    try:
        return TypeAdapter(dict[str, Manifest]).validate_json(text)
    except ValidationError as failure:
        raise ValueError(problems_of(failure)[0]) from failure
