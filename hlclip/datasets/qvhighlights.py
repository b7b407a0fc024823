"""QVHighlights: its published files, and which of them a folder holds.

The annotations are CC BY-NC-SA 4.0 and part of the Moment-DETR repository. The ground truth of the
test split was released in March 2026. The earlier `highlight_test_release.jsonl` has the same
queries without ground truth and is not among the files below.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlclip.datasets.archive import videos_in
from hlclip.formats import AnnotationError, read_annotations
from hlclip.system import sha256_of

_MOMENT_DETR = "https://raw.githubusercontent.com/jayleicn/moment_detr/main/data/"


@dataclass(frozen=True)
class Release:
    """A published annotation file."""

    split: str
    name: str
    sha256: str
    rows: int
    """Queries."""
    vids: int
    """Different videos."""

    @property
    def url(self) -> str:
        return f"{_MOMENT_DETR}{self.name}"


@dataclass(frozen=True)
class VideoArchive:
    """The videos of all splits in one gzip-compressed tar, published without a checksum."""

    name: str
    url: str
    size: int
    """Bytes, approximately; the extracted videos take about as much."""
    suffix: str
    """A video is named `<vid><suffix>`."""


ANNOTATIONS = (
    Release(
        split="train",
        name="highlight_train_release.jsonl",
        sha256="fd28404187468f57cf99242be2963127dc9b4aef26c7de3cb9469569801f2625",
        rows=7_218,
        vids=7_100,
    ),
    Release(
        split="val",
        name="highlight_val_release.jsonl",
        sha256="f668a1eaea156ec5315e14718999cea043a8cf948d3cafbd8e8d655318c3cd02",
        rows=1_550,
        vids=1_519,
    ),
    Release(
        split="test",
        name="highlight_test_with_gt.jsonl",
        sha256="bd50ec6bb5dd3f72571126ba5fdc7418efdd9219a9487984e483a02e2ce5d493",
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


def identify_release(path: Path, releases: Iterable[Release] = ANNOTATIONS) -> Release | None:
    """The release with the bytes of a file, whatever the file's name; None if there is none."""
    sha256 = sha256_of(path)
    return next((release for release in releases if release.sha256 == sha256), None)


@dataclass(frozen=True)
class DatasetStatus:
    """The files of the data set that exist in a folder."""

    annotations: dict[str, str]
    """Name of a released file -> description of the file in the folder."""
    absent: list[Release]
    different: list[Release]
    """Releases in whose place a file of the same name has other bytes."""
    vids: set[str]
    """Videos that the readable annotation files name."""
    videos: set[str]
    """Those of `vids` whose file exists and is not empty; its content is not checked."""

    @property
    def missing(self) -> list[str]:
        """Vids without a file, sorted."""
        return sorted(self.vids - self.videos)

    @property
    def whole(self) -> bool:
        """Every annotation file is the release, and no video is missing."""
        return not (self.absent or self.different or self.missing)


def dataset_status(root: Path, releases: Sequence[Release] = ANNOTATIONS) -> DatasetStatus:
    """Compare `root`/annotations and `root`/videos with the releases; changes nothing."""
    annotations: dict[str, str] = {}
    absent, different, vids = [], [], set[str]()
    for release in releases:
        path = root / "annotations" / release.name
        if not path.exists():
            absent.append(release)
            annotations[release.name] = "missing"
            continue
        identified = identify_release(path, releases)
        if identified is not release:
            different.append(release)
        try:
            rows = read_annotations(path)
        except AnnotationError:
            annotations[release.name] = "not the release, and not readable as annotations"
            continue
        names = {row.vid for row in rows}
        vids |= names
        annotations[release.name] = _describe(release, identified, len(rows), len(names))
    videos = set(videos_in(root / "videos", vids))
    return DatasetStatus(annotations, absent, different, vids, videos)


def _describe(release: Release, identified: Release | None, rows: int, vids: int) -> str:
    size = f"{rows:,} queries on {vids:,} videos"
    if identified is release:
        return f"{size}, as released"
    if identified is not None:
        return f"not the release: this is {identified.name}"
    if (rows, vids) == (release.rows, release.vids):
        return f"not the release: {size} like the release, but other bytes"
    return f"not the release: {size}, expected {release.rows:,} on {release.vids:,}"
