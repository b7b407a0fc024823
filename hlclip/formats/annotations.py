"""Annotation rows in the QVHighlights format, and the numbers of that format.

A row is one query on one video. A video is a run of clips of `clip_seconds`, two in QVHighlights;
`relevant_clip_ids` are those that some annotator found relevant, `saliency_scores` the ratings of
those clips by three annotators, `relevant_windows` the same moments in seconds.

Rows of other data sets have more keys: the name of the `dataset`, the `protocol` that chose the
rows of each split, the `domain` of the video, the `rating_scale`, and `clips` with times of their
own. All are absent in QVHighlights.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationInfo,
    field_validator,
    model_serializer,
)

from hlclip.formats.data_sets import RETRIEVAL, Clips, DataSet, Protocol, check_clip_times
from hlclip.formats.validation import Number, Row, read_rows, shown
from hlclip.system import HlclipError

Level = Literal["Fair", "Good", "VeryGood"]

LEVELS: dict[Level, int] = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""A clip is a highlight for an annotator who rates it at least this."""

ANNOTATORS = 3
MAX_RATING = 4
CLIP_SECONDS = 2.0
MOST_CLIPS = 100_000
"""Of one video: 55 hours. A longer duration is a mistake, and would fill the memory."""

_SHOWN_PROBLEMS = 3  # of the ratings of a row


class AnnotationError(HlclipError):
    """An annotation file is malformed; the message lists the problems, one per line."""


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError(f"got {shown(value)}, expected some text")
    return value


_Text = Annotated[str, Strict(), AfterValidator(_not_blank)]
_Integer = Annotated[int, Strict()]
_Window = tuple[Number, Number]


class Annotation(Row):
    """One query on one video, with its ground truth unless the file is a blind test split.

    Validation takes the length of a clip from the context, `{"clip_seconds": 2.0}` by default.
    """

    query: _Text
    vid: _Text
    dataset: DataSet = "qvhighlights"
    protocol: Protocol | None = None
    domain: _Text | None = None
    """Subject of the video, where the data set's figures are means over domains."""
    own_clip_seconds: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, alias="clip_seconds"
    )
    """Length of this video's clips, where it is not that of the data set."""
    duration: Annotated[Number, Field(gt=0)]
    """Seconds. Only this: the span in a `vid` is 150 s even where the video is shorter."""
    own_clips: tuple[_Window, ...] | None = Field(default=None, alias="clips")
    """(start, end) of each clip in seconds, where the clips have times of their own."""
    rating_scale: tuple[_Integer, _Integer] = (0, MAX_RATING)
    """Lowest and highest rating; in QVHighlights 0 (very bad) .. 4 (very good)."""
    saliency_scores: tuple[tuple[_Integer, ...], ...] | None = None
    """Ratings of each of `relevant_clip_ids` by every annotator, on `rating_scale`."""
    relevant_clip_ids: tuple[Annotated[int, Strict()], ...] | None = Field(
        default=None, validate_default=True
    )
    """Clips that were rated, each once, counted from 0."""
    relevant_windows: tuple[_Window, ...] | None = None
    """(start, end) of each relevant moment in seconds."""
    _clip_seconds: float = PrivateAttr(CLIP_SECONDS)

    def model_post_init(self, context: dict[str, float] | None) -> None:
        self._clip_seconds = _clip_seconds(context)

    # Field by field and not in one model validator: pydantic runs them in order and goes on after
    # a failure, so that one pass reports every problem. `info.data` holds the valid fields so far.

    @field_validator("duration")
    @classmethod
    def _at_least_one_clip(cls, duration: float, info: ValidationInfo) -> float:
        # The official metrics of highlights count no clip in a shorter video. Moment retrieval does
        # not count clips.
        least = 0 if info.data.get("dataset") in RETRIEVAL else 1
        clip_seconds = info.data.get("own_clip_seconds") or _clip_seconds(info.context)
        if not least <= duration / clip_seconds <= MOST_CLIPS:
            raise ValueError(
                f"got {duration:g}, expected 1 to {MOST_CLIPS} clips of {clip_seconds:g} seconds"
            )
        return duration

    @field_validator("own_clips")
    @classmethod
    def _in_order_and_inside(
        cls, clips: tuple[_Window, ...] | None, info: ValidationInfo
    ) -> tuple[_Window, ...] | None:
        if clips is None:
            return None
        if info.data.get("own_clip_seconds") is not None:
            raise ValueError("got clips next to clip_seconds, expected one of them")
        check_clip_times(clips, info.data.get("duration", np.inf))
        return clips

    @field_validator("rating_scale")
    @classmethod
    def _low_before_high(cls, scale: tuple[int, int]) -> tuple[int, int]:
        if not -100 <= scale[0] < scale[1] <= 100:
            raise ValueError(f"got {[*scale]}, expected -100 <= lowest < highest <= 100")
        return scale

    @field_validator("saliency_scores")
    @classmethod
    def _on_the_scale(
        cls, scores: tuple[tuple[int, ...], ...] | None, info: ValidationInfo
    ) -> tuple[tuple[int, ...], ...] | None:
        low, high = info.data.get("rating_scale", (-np.inf, np.inf))
        annotators = len(scores[0]) if scores else ANNOTATORS
        problems: list[str] = []
        for number, ratings in enumerate(scores or ()):
            if len(ratings) != annotators or not ratings:
                expected = f"{annotators} as in [0]" if number else "1 or more"
                problems.append(f"got {len(ratings)} ratings in [{number}], expected {expected}")
            elif not low <= min(ratings) <= max(ratings) <= high:
                wrong = [rating for rating in ratings if not low <= rating <= high]
                problems.append(f"got {shown(wrong)} in [{number}], expected {low} to {high}")
        if problems:
            raise ValueError("; ".join(problems[:_SHOWN_PROBLEMS]))
        return scores

    @field_validator("relevant_clip_ids")
    @classmethod
    def _rated_unique_and_inside(
        cls, ids: tuple[int, ...] | None, info: ValidationInfo
    ) -> tuple[int, ...] | None:
        scores = info.data.get("saliency_scores", ids)  # absent when they are malformed
        if ids is None and scores is None:
            return None
        if ids is None or scores is None:
            lone = "none next to" if ids is None else "some without"
            raise ValueError(f"got {lone} saliency_scores, expected both or neither")
        problems: list[str] = []
        if len(ids) != len(scores):
            problems.append(
                f"got {len(ids)} entries, expected {len(scores)}, one for each of saliency_scores"
            )
        repeated = sorted(i for i, times in Counter(ids).items() if times > 1)
        if repeated:
            problems.append(f"got {shown(repeated)} more than once, expected each clip once")
        clips = _count_clips(info.data, _clip_seconds(info.context))
        outside = [i for i in ids if not 0 <= i < clips]
        if outside:
            problems.append(f"got {shown(outside)}, expected 0 <= id < {clips} (clips)")
        if problems:
            raise ValueError("; ".join(problems))
        return ids

    @field_validator("relevant_windows")
    @classmethod
    def _forward_and_inside(
        cls, windows: tuple[_Window, ...] | None, info: ValidationInfo
    ) -> tuple[_Window, ...] | None:
        # No window of the released files ends after its video, so nothing is tolerated here.
        duration = info.data.get("duration", np.inf)
        outside = [[s, e] for s, e in windows or () if not 0 <= s < e <= duration]
        if outside:
            raise ValueError(
                f"got {shown(outside)}, expected 0 <= start < end <= {duration} (seconds)"
            )
        return windows

    @model_serializer(mode="wrap")
    def _as_in_the_file(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The keys of the file, without those that QVHighlights lacks where they have no value."""
        row = dump(self)
        for name in ("dataset", "protocol", "domain", "own_clip_seconds", "own_clips"):
            value = row.pop(name, None)
            if value is not None and value != "qvhighlights":
                row[name.removeprefix("own_")] = value
        if self.rating_scale == (0, MAX_RATING):
            row.pop("rating_scale", None)
        return row

    @property
    def clip_seconds(self) -> float:
        """Length of a clip, from the data set and not from the row."""
        return self._clip_seconds

    @property
    def clips(self) -> int:
        """Number of whole clips, as the official script counts them; at least 1."""
        return int(_count_clips(vars(self), self._clip_seconds))

    @property
    def clips_apart(self) -> Clips | None:
        """The clips of this video where they are not those of the data set."""
        if self.own_clip_seconds == self._clip_seconds:
            return None
        return self.own_clips or self.own_clip_seconds

    def clip_times(self) -> NDArray[np.float64]:
        """Start and end of each clip in seconds, [clips, 2]."""
        if self.own_clips is not None:
            return np.array(self.own_clips)
        edges = np.arange(self.clips + 1, dtype=np.float64) * (
            self.own_clip_seconds or self._clip_seconds
        )
        return np.column_stack([edges[:-1], np.minimum(edges[1:], self.duration)])

    def ratings(self) -> NDArray[np.int64]:
        """Ratings as int64 [clips, annotators]; the lowest of the scale for clips without rating.

        Raises:
            ValueError: the row has no ground truth.
        """
        if self.relevant_clip_ids is None or self.saliency_scores is None:
            raise ValueError(f"qid {self.qid!r} has no saliency_scores")
        ratings = np.full((self.clips, self.annotators), self.rating_scale[0], dtype=np.int64)
        if self.relevant_clip_ids:
            ratings[list(self.relevant_clip_ids)] = self.saliency_scores
        return ratings

    @property
    def annotators(self) -> int:
        """Number of annotators; that of QVHighlights where no clip was rated."""
        return len(self.saliency_scores[0]) if self.saliency_scores else ANNOTATORS


def read_annotations(path: Path | str, clip_seconds: float = CLIP_SECONDS) -> list[Annotation]:
    """Read and validate an annotation file (JSONL, one query a line), in file order.

    Raises:
        AnnotationError: the file is malformed; lists each problem by line and field.
        OSError: the file cannot be read.
    """
    if not 0 < clip_seconds < np.inf:
        raise HlclipError(f"clip_seconds is {clip_seconds}, expected a positive number of seconds")
    rows = read_rows(Path(path), Annotation, error_type=AnnotationError, clip_seconds=clip_seconds)
    blind = [line for line, row in rows.items() if row.saliency_scores is None]
    if 0 < len(blind) < len(rows) and len({row.dataset for row in rows.values()}) == 1:
        raise AnnotationError(
            f"{path}:{blind[0]}: saliency_scores: got none, expected some as on "
            f"{len(rows) - len(blind)} of {len(rows)} lines; a file has ground truth on every line "
            "or on none"
        )
    _check_alike(path, rows)
    return list(rows.values())


def _check_alike(path: Path | str, rows: dict[int, Annotation]) -> None:
    """Refuse a file whose rows need different metrics: they would be averaged."""
    first, *_ = rows
    for line, row in rows.items():
        for name, wrong, expected in [
            ("dataset", row.dataset, rows[first].dataset),
            ("protocol", row.protocol, rows[first].protocol),
            ("rating_scale", row.rating_scale, rows[first].rating_scale),
            ("domain", row.domain and "some", rows[first].domain and "some"),
            ("saliency_scores", row.annotators, rows[first].annotators),
        ]:
            if wrong != expected:
                unit = " annotators" if name == "saliency_scores" else ""
                raise AnnotationError(
                    f"{path}:{line}: {name}: got {wrong or 'none'}{unit}, expected "
                    f"{expected or 'none'} as on line {first}"
                )


def _count_clips(row: Mapping[str, Any], clip_seconds: float) -> float:
    """Clips of a row, of which some fields may be malformed and absent; then infinitely many."""
    if not {"duration", "own_clip_seconds", "own_clips"} <= row.keys():
        return np.inf
    if row["own_clips"]:
        return len(row["own_clips"])
    return max(1, int(row["duration"] / (row["own_clip_seconds"] or clip_seconds)))


def _clip_seconds(context: dict[str, float] | None) -> float:
    return (context or {}).get("clip_seconds", CLIP_SECONDS)
