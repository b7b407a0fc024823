"""What a folder holds of a data set: which files are the release, which videos are there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlclip.datasets.archive import videos_in
from hlclip.datasets.releases import Release, identify
from hlclip.formats.annotations import CLIP_SECONDS, AnnotationError, read_annotations


@dataclass(frozen=True)
class Holdings:
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


def look(root: Path, releases: Sequence[Release]) -> Holdings:
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
    return Holdings(
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
