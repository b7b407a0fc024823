"""The known releases of QVHighlights: names, checksums, counts, and where they are published.

The annotations are CC BY-NC-SA 4.0 and part of the Moment-DETR repository; the ground truth of the
test split was released in March 2026. Before it there was `highlight_test_release.jsonl`, the same
queries without ground truth: published, and not among the files that are known here.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
