"""TVSum: 50 videos of ten domains, each two seconds rated 1 to 5 by 20 annotators.

The query of a video is its title. The authors' files repeat the rating of a shot of two seconds for
each of its frames; Lighthouse's have one rating a shot, and the field's splits.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hlclip.datasets.conversion import (
    LIGHTHOUSE,
    Conversion,
    Durations,
    PublishedData,
    annotation,
    divide,
    published_files,
)
from hlclip.formats import Annotation, AnnotationError, Number, Row, read_rows, shown

FILES = {split: f"tvsum_{split}_release.jsonl" for split in ("train", "val")}
TABLES = ("ydata-tvsum50-info.tsv", "ydata-tvsum50-anno.tsv")
MATRICES = "ydata-tvsum50.mat"

SHOT_SECONDS = 2
_NO_SPLITS = (
    "these files have no splits: val of leave-one-out is the last video of each domain, and the "
    "field's per-domain split is not made (Lighthouse's files have it)"
)


class _Row(Row):
    query: str
    vid: str
    domain: str
    duration: Annotated[Number, Field(gt=0)]
    """Number of shots, and not seconds."""
    label: Annotated[tuple[tuple[Number, ...], ...], Field(min_length=1)]
    """[shots, annotators]"""


def _convert(published: Path, _: Durations) -> Conversion:
    if any((published / name).is_file() for name in FILES.values()):
        paths = published_files(published, [*FILES.values()], "tvsum")
        splits = dict(zip(FILES, map(_lighthouse, paths), strict=True))
        return Conversion(paths, divide(published, splits))
    if (published / MATRICES).is_file():
        paths, rows = [published / MATRICES], _matrices(published / MATRICES)
    else:
        paths = published_files(published, TABLES, "tvsum")
        rows = _tables(*paths)
    return Conversion(paths, divide(published, {"all": list(rows)}), [_NO_SPLITS])


def _lighthouse(path: Path) -> list[Annotation]:
    rows: list[Annotation] = []
    for line, row in read_rows(path, _Row, error_type=AnnotationError).items():
        if row.duration != len(row.label):
            raise AnnotationError(
                f"{path}:{line}: duration: got {row.duration:g}, expected {len(row.label)}, the "
                "number of shots in label"
            )
        rows.append(_annotation(f"{path}:{line}", row.vid, row.domain, row.query, row.label))
    return rows


def _tables(info: Path, ratings: Path) -> Iterator[Annotation]:
    """The authors' tables: a row of `info` is a video, a row of `ratings` a video's annotator."""
    of_video: dict[str, list[NDArray[np.int64]]] = {}
    for number, line in _lines(ratings):
        vid, *cells = line.split("\t")
        try:
            frames = np.array(cells[1].split(","), dtype=np.int64)
        except (IndexError, ValueError) as error:
            raise AnnotationError(
                f"{ratings}:{number}: got {shown(line)}, expected a video's id, its category and "
                "a rating for each frame, separated by tabs, the ratings by commas"
            ) from error
        others = of_video.setdefault(vid, [])
        if others and len(others[0]) != len(frames):
            raise AnnotationError(
                f"{ratings}:{number}: got ratings of {len(frames)} frames, expected "
                f"{len(others[0])} as of the other annotators of {vid}"
            )
        others.append(frames)
    (_, header), *lines = [*_lines(info)] or [(1, "")]
    columns = header.split("\t")
    for number, line in lines:
        cells = dict(zip(columns, line.split("\t"), strict=False))
        place = f"{info}:{number}"
        try:
            vid, minutes_seconds = cells["video_id"], cells["length"].split(":")
            seconds = float(minutes_seconds[-2]) * 60 + float(minutes_seconds[-1])
            domain, title = cells["category"], cells["title"]
        except (KeyError, IndexError, ValueError) as error:
            raise AnnotationError(
                f"{place}: got {shown(line)}, expected category, video_id, title, url and length "
                "(m:ss), separated by tabs, under a header of these names"
            ) from error
        if vid not in of_video:
            raise AnnotationError(f"{place}: got video {vid}, expected each of {ratings.name} once")
        shots = _shots(place, np.stack(of_video.pop(vid)), seconds)
        yield _annotation(place, vid, domain, title, shots)
    if of_video:
        raise AnnotationError(
            f"{info}: got no line of {shown([*of_video])}, expected one for each video of "
            f"{ratings.name}"
        )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(
            f"{path}: got bytes that are not UTF-8 (byte {error.start + 1}), expected UTF-8 text"
        ) from error
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line


def _matrices(path: Path) -> Iterator[Annotation]:
    """The authors' file of Matlab 7.3, which is HDF5 with the axes of its arrays swapped."""
    try:
        with h5py.File(path) as file:
            table: Any = file["tvsum50"]

            def value(name: str, video: int) -> Any:
                return np.asarray(file[table[name][video, 0]])

            def text(name: str, video: int) -> str:
                return "".join(map(chr, value(name, video).ravel()))

            for video in range(len(table["video"])):
                place, ratings = f"{path}: video {video + 1}", value("user_anno", video)
                shots = _shots(place, ratings, float(value("length", video).ravel()[0]))
                vid, domain, title = (text(n, video) for n in ("video", "category", "title"))
                yield _annotation(place, vid, domain, title, shots)
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        raise AnnotationError(f"{path}: is not TVSum's file of Matlab 7.3 ({error})") from error


def _shots(place: str, frames: NDArray[Any], seconds: float) -> NDArray[np.int64]:
    """The rating of each shot, int [shots, annotators], from that of each of its frames.

    The length of the video is known to a second. Ratings change between shots only, so of all
    lengths of a shot in frames the one is taken whose multiples are nearest to the changes.

    Args:
        frames: [annotators, frames].
        seconds: length of the video, rounded.
    """
    changes = np.flatnonzero((np.diff(frames, axis=1) != 0).any(axis=0)) + 1  # [changes]
    shots = (seconds + np.linspace(-1, 1, 2001)) / SHOT_SECONDS  # [candidates]
    lengths = frames.shape[1] / shots[shots >= 1]
    if len(lengths) == 0:
        raise AnnotationError(f"{place}: got a video of {seconds:g} s, expected a shot of 2 s")
    places = changes / lengths[:, None]  # [candidates, changes], in shots
    distances = np.abs(places - np.round(places)).mean(axis=1) if len(changes) else 0 * lengths
    best = int(np.lexsort([np.abs(lengths - np.median(lengths)), distances])[0])
    if len(changes) and np.abs(places[best] - np.round(places[best])).max() > 1 / 4:
        raise AnnotationError(f"{place}: ratings change within a shot of {SHOT_SECONDS} s")
    whole = int(frames.shape[1] / lengths[best] + 0.02)  # frames are rounded
    middles = ((np.arange(whole) + 0.5) * lengths[best]).astype(int)
    return frames[:, np.minimum(middles, frames.shape[1] - 1)].T.astype(np.int64)


def _annotation(place: str, vid: str, domain: str, title: str, shots: Any) -> Annotation:
    whole = [[int(r) if r == int(r) else r for r in shot] for shot in shots]
    row = {
        "qid": vid,
        "query": title,
        "vid": vid,
        "domain": domain,
        "duration": SHOT_SECONDS * len(whole),
        "clip_seconds": SHOT_SECONDS,
        "rating_scale": [1, 5],
        "saliency_scores": whole,
        "relevant_clip_ids": list(range(len(whole))),
    }
    return annotation(place, row, dataset="tvsum")


TVSUM = PublishedData(
    name="tvsum",
    title="TVSum",
    annotations=(
        f"{' and '.join(FILES.values())} from {LIGHTHOUSE} data/tvsum, or {' and '.join(TABLES)}, "
        f"or {MATRICES} from https://github.com/yalesong/tvsum"
    ),
    videos="the archive of https://github.com/yalesong/tvsum, or YouTube, by their ids",
    terms="Its authors (Song et al., CVPR 2015) license videos and annotations CC BY 3.0.",
    convert=_convert,
)
