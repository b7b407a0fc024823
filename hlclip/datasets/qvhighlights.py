"""QVHighlights: its published files, and what a folder holds of them.

The annotations are CC BY-NC-SA 4.0 and part of the Moment-DETR repository; the ground truth of the
test split was released in March 2026. Before that there was `highlight_test_release.jsonl`, the
same queries without ground truth, which is not among the files known here.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlclip.datasets.archive import videos_in
from hlclip.formats import CLIP_SECONDS, AnnotationError, read_annotations

_MOMENT_DETR = "https://raw.githubusercontent.com/jayleicn/moment_detr/main/data/"


@dataclass(frozen=True)
class Release:
    """One annotation file as it was published."""

    split: str
    name: str
    url: str
    sha256: str
    size: int
    """Bytes."""
    rows: int
    """Queries."""
    vids: int
    """Different videos."""


@dataclass(frozen=True)
class VideoArchive:
    """The videos of all splits in one gzip-compressed tar; no checksum of it was published."""

    name: str
    url: str
    size: int
    """Bytes, about; the files in it take about as much."""
    suffix: str
    """Of the videos' names: `<vid><suffix>`."""


ANNOTATIONS = (
    Release(
        split="train",
        name="highlight_train_release.jsonl",
        url=_MOMENT_DETR + "highlight_train_release.jsonl",
        sha256="fd28404187468f57cf99242be2963127dc9b4aef26c7de3cb9469569801f2625",
        size=3_956_580,
        rows=7_218,
        vids=7_100,
    ),
    Release(
        split="val",
        name="highlight_val_release.jsonl",
        url=_MOMENT_DETR + "highlight_val_release.jsonl",
        sha256="f668a1eaea156ec5315e14718999cea043a8cf948d3cafbd8e8d655318c3cd02",
        size=821_101,
        rows=1_550,
        vids=1_519,
    ),
    Release(
        split="test",
        name="highlight_test_with_gt.jsonl",
        url=_MOMENT_DETR + "highlight_test_with_gt.jsonl",
        sha256="bd50ec6bb5dd3f72571126ba5fdc7418efdd9219a9487984e483a02e2ce5d493",
        size=824_658,
        rows=1_542,
        vids=1_529,
    ),
)

VIDEOS = VideoArchive(
    name="qvhilights_videos.tar.gz",
    url="https://nlp.cs.unc.edu/data/jielei/qvh/qvhilights_videos.tar.gz",
    size=134_000_000_000,
    suffix=".mp4",
)


def identify(path: Path, releases: Iterable[Release] = ANNOTATIONS) -> Release | None:
    """The release that a file is, to the byte, whatever its name; None if it is none of them.

    Raises:
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    same_size = [release for release in releases if release.size == size]
    if not same_size:
        return None
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return next((release for release in same_size if release.sha256 == sha256), None)


def named(name: str, releases: Iterable[Release] = ANNOTATIONS) -> Release | None:
    """The release whose file has this name: what a file that `identify` does not know should be."""
    return next((release for release in releases if release.name == name), None)


@dataclass(frozen=True)
class DatasetStatus:
    """What was found; nothing was changed."""

    annotations: dict[str, str]
    """Name -> what the file is, in words."""
    absent: tuple[Release, ...]
    different: tuple[Release, ...]
    """Their files are there under the right name with other bytes."""
    vids: frozenset[str]
    """Videos that the readable annotation files name."""
    videos: frozenset[str]
    """Those of `vids` whose file is there and not empty; what is in it was not looked at."""

    @property
    def missing(self) -> list[str]:
        """Vids without a file, sorted."""
        return sorted(self.vids - self.videos)

    @property
    def whole(self) -> bool:
        """Every annotation file is the release, and no video is missing."""
        return not (self.absent or self.different or self.missing)


def look(root: Path, releases: Sequence[Release]) -> DatasetStatus:
    """Compare `root`/annotations and `root`/videos with what was released.

    Raises:
        OSError: a file is there and cannot be read.
    """
    words: dict[str, str] = {}
    absent, different, vids = [], [], set[str]()
    for release in releases:
        path = root / "annotations" / release.name
        if not path.exists():
            absent.append(release)
            words[release.name] = "missing"
            continue
        known = identify(path, releases)
        if known is not release:
            different.append(release)
        words[release.name], named = _describe(path, release, known)
        vids |= named
    return DatasetStatus(
        annotations=words,
        absent=tuple(absent),
        different=tuple(different),
        vids=frozenset(vids),
        videos=frozenset(videos_in(root / "videos", vids)),
    )


def _describe(path: Path, release: Release, known: Release | None) -> tuple[str, set[str]]:
    """In words, and the vids that it names."""
    try:
        rows = read_annotations(path, CLIP_SECONDS)
    except AnnotationError:
        return "not the release, and not readable as annotations", set()
    vids = {row.vid for row in rows}
    came = f"{len(rows):,} queries on {len(vids):,} videos"
    if known is release:
        return f"{came}, as released", vids
    if known is not None:
        return f"not the release: this is {known.name}", vids
    if (len(rows), len(vids)) == (release.rows, release.vids):
        return f"not the release: {came} as there, but other bytes", vids
    return f"not the release: {came}, expected {release.rows:,} on {release.vids:,}", vids
