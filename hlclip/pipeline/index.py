"""index: annotation rows and videos, validated; missing videos are named."""

import logging
from collections.abc import Mapping
from pathlib import Path

from hlclip.formats import Annotation, AnnotationError, Index, Video, read_annotations
from hlclip.params import DataParams, Split
from hlclip.pipeline.missing import check_missing, check_splits
from hlclip.video import (
    DataError,
    VideoFile,
    VideoUnreadableError,
    find_videos,
    inspect_videos,
)

log = logging.getLogger(__name__)


def build_index(
    data: DataParams, *, cache: Path, needed: Mapping[Split, str] | None = None
) -> Index:
    """Validate the annotations; find, hash and probe the videos.

    Args:
        cache: see `inspect_videos`.
        needed: see `check_splits`.

    Raises:
        DataError: a folder or annotation file is absent, or two files claim one vid.
        AnnotationError: rows are malformed; all problems are listed. Or rows of two splits are of
            different data sets or protocols, or two rows of a video differ in its clips.
        VideoUnreadableError: the system refuses to read a video.
        TooManyMissingError: see `check_missing` and `check_splits`.
    """
    queries = read_queries(data)
    index = find_data(data, queries, cache=cache)
    total = len(index.clips())
    rows = ", ".join(f"{len(rows)} {split}" for split, rows in queries.items())
    log.info("%s queries on %d videos, %d of them found", rows, total, len(index.videos))
    check_missing(index.missing, total=total, share=data.max_missing)
    check_splits(index, index.missing, needed or {})
    return index


def read_queries(data: DataParams) -> dict[str, list[Annotation]]:
    """Split -> annotation rows, validated one by one and against each other.

    Raises:
        DataError, AnnotationError: see `build_index`.
    """
    root = Path(data.root)
    folder = root / data.videos
    if Path(data.videos).is_absolute():  # the index holds paths relative to the root only
        raise DataError(f"data.videos is {data.videos}, expected a folder relative to data.root")
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder}",
            f"data.root must hold {data.videos}/<vid>.<extension> "
            f"and {', '.join(data.annotations.values())}",
        )
    queries = {
        split: _read_split(split, root / name, data.clip_seconds)
        for split, name in data.annotations.items()
    }
    _check_alike(data.annotations, queries)
    return queries


def find_data(data: DataParams, queries: Mapping[str, list[Annotation]], *, cache: Path) -> Index:
    """Find, hash and probe the videos of these rows, however many are missing.

    Raises:
        DataError, VideoUnreadableError: see `build_index`.
    """
    root = Path(data.root)
    folder = root / data.videos
    vids = {row.vid for rows in queries.values() for row in rows}
    files = find_videos(folder, vids)
    missing = {vid: f"no file {data.videos}/{vid}.*" for vid in vids - files.keys()}
    videos: dict[str, Video] = {}
    for vid, file in inspect_videos(files, cache):
        if isinstance(file, VideoFile):
            relative = file.path.relative_to(root).as_posix()
            videos[vid] = Video(relative, file.sha256, file.info)
        elif isinstance(file, VideoUnreadableError):
            raise VideoUnreadableError(f"{files[vid]}: {file.reason}", file.remedy()) from file
        else:
            missing[vid] = f"{data.videos}/{files[vid].name}: {file}"
    return Index(data.clip_seconds, dict(queries), videos, missing)


def _check_alike(places: Mapping[Split, str], queries: Mapping[str, list[Annotation]]) -> None:
    """Refuse splits whose figures must not be compared, and a video with two sets of clips."""
    first, *others = places
    for split in others:
        for name in ("dataset", "protocol"):
            expected, found = (getattr(queries[of][0], name) for of in (first, split))
            if found != expected:
                raise AnnotationError(
                    f"{places[split]} ({split}): {name}: got {found or 'none'}, expected "
                    f"{expected or 'none'} as in {places[first]} ({first})",
                    "data.annotations must name files that were made together",
                )
    seen: dict[str, tuple[str, Annotation]] = {}
    for place, row in ((places[split], row) for split in places for row in queries[split]):
        before, same_video = seen.setdefault(row.vid, (place, row))
        if row.clips_apart != same_video.clips_apart:
            raise AnnotationError(
                f"{place}: qid {row.qid!r}: got other clips of video {row.vid} than qid "
                f"{same_video.qid!r} of {before}",
                "a video has one frame for each clip: give all its rows the same clips",
            )


def _read_split(split: str, path: Path, clip_seconds: float) -> list[Annotation]:
    try:
        return read_annotations(path, clip_seconds)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror})",
            f"data.annotations.{split} must name a file in data.root; null says that the data set "
            f"has no {split} split",
            settings={f"data.annotations.{split}": "null"},
        ) from error
