"""YouTube Highlights: six kinds of home videos, whose clips of about 100 frames overlap.

A clip is `matched` (1) if an editor took it into an edited video, borderline (0) or unmatched (-1).
The query of a video is the name of its domain.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from hlclip.datasets.conversion import (
    LIGHTHOUSE,
    Conversion,
    Durations,
    PublishedData,
    annotation,
    cut_to_end,
    divide,
    published_files,
)
from hlclip.formats import Annotation, AnnotationError, Number, Row, problems_of, read_rows

FILES = {split: f"youtube_highlight_{split}_release.jsonl" for split in ("train", "val")}
LISTS = "vlist_sel.json"
"""Of each domain in the authors' repository: the videos that a person found to be of the domain."""

_SPLITS = {"Trai": "train", "Test": "val"}
"""The first letters of the name of a list -> split."""

_Frames = tuple[tuple[Number, Number], ...]
_Match = Literal[-1, 0, 1]


class _Row(Row):
    vid: str
    domain: str
    duration: Annotated[Number, Field(gt=0)]
    fps: Annotated[Number, Field(gt=0)]
    clip: _Frames
    """(start, end) in frames."""
    match: tuple[_Match, ...]


_LISTS = TypeAdapter(list[tuple[list[str], str]])
_LABELS = TypeAdapter(tuple[_Frames, tuple[_Match, ...]])


def _convert(published: Path, duration_of: Durations) -> Conversion:
    lists = sorted(published.glob(f"*/{LISTS}"))
    if lists and not any((published / name).is_file() for name in FILES.values()):
        return Conversion([published], divide(published, _original(lists, duration_of)))
    paths = published_files(published, [*FILES.values()], "youtube-highlights")
    splits: dict[str, list[Annotation]] = {}
    for split, path in zip(FILES, paths, strict=True):
        splits[split] = [
            _annotation(
                f"{path}:{line}", row.vid, row.domain, row.duration, row.fps, row.clip, row.match
            )
            for line, row in read_rows(path, _Row, error_type=AnnotationError).items()
        ]
    return Conversion(paths, divide(published, splits))


def _original(lists: Sequence[Path], duration_of: Durations) -> Mapping[str, list[Annotation]]:
    """The authors' folders, `<domain>/<vid>/match_label.json`.

    They have no frame rate. The last clip of a video ends with it (within 8 frames in the files of
    Lighthouse), so the rate is the last frame over the duration of the user's video.
    """
    splits: dict[str, list[Annotation]] = {"train": [], "val": []}
    for path in lists:
        domain = path.parent.name
        for vids, name in _read(path, _LISTS):
            for vid in vids:
                labels = path.parent / vid / "match_label.json"
                clips, match = _read(labels, _LABELS)
                if not clips or name[:4] not in _SPLITS:
                    raise AnnotationError(
                        f"{labels if not clips else path}: got "
                        f"{'no clips' if not clips else name!r}, expected clips of a list that "
                        "begins with Trai or Test"
                    )
                duration = duration_of(vid)
                row = _annotation(
                    str(labels), vid, domain, duration, clips[-1][1] / duration, clips, match
                )
                splits[_SPLITS[name[:4]]].append(row)
    return splits


def _read(path: Path, form: TypeAdapter[Any]) -> Any:
    try:
        return form.validate_python(json.loads(path.read_bytes()), strict=False)
    except OSError as error:
        raise AnnotationError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as failure:
        raise AnnotationError(f"{path}: {problems_of(failure)[0]}") from failure
    except ValueError as error:
        raise AnnotationError(f"{path}: is no JSON ({error})") from error


def _annotation(
    place: str,
    vid: str,
    domain: str,
    duration: float,
    fps: float,
    clips: _Frames,
    match: Sequence[int],
) -> Annotation:
    if len(match) != len(clips):
        raise AnnotationError(f"{place}: match: got {len(match)}, expected {len(clips)} as clip")
    row = {
        "qid": vid,
        "query": domain,
        "vid": vid,
        "domain": domain,
        "duration": duration,
        "clips": [cut_to_end(start / fps, end / fps, duration) for start, end in clips],
        "rating_scale": [-1, 1],
        "saliency_scores": [[label] for label in match],
        "relevant_clip_ids": list(range(len(match))),
    }
    return annotation(place, row, dataset="youtube-highlights")


YOUTUBE_HIGHLIGHTS = PublishedData(
    name="youtube-highlights",
    title="YouTube Highlights",
    annotations=(
        f"{' and '.join(FILES.values())} from {LIGHTHOUSE} data/youtube_highlight, or the folders "
        "of https://github.com/aliensunmin/DomainSpecificHighlight, which need all videos, too"
    ),
    videos="YouTube, by their ids",
    terms=(
        "Its authors (Sun et al., ECCV 2014) state no licence for the annotations. The videos "
        "remain their owners'."
    ),
    convert=_convert,
)
