"""Annotation rows in the QVHighlights format, and the numbers of that format.

A row is one query on one video. A video is a run of clips of `clip_seconds`, two in QVHighlights;
`relevant_clip_ids` are those that some annotator found relevant, `saliency_scores` the ratings of
those clips by three annotators, `relevant_windows` the same moments in seconds.
"""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PrivateAttr, Strict, ValidationInfo, field_validator

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


class AnnotationError(HlclipError):
    """An annotation file is malformed; the message lists the problems, one per line."""


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError(f"got {shown(value)}, expected some text")
    return value


_Text = Annotated[str, Strict(), AfterValidator(_not_blank)]
_Rating = Annotated[int, Strict(), Field(ge=0, le=MAX_RATING)]
_Ratings = tuple[_Rating, _Rating, _Rating]
_Window = tuple[Number, Number]


class Annotation(Row):
    """One query on one video, with its ground truth unless the file is a blind test split.

    Validation takes the length of a clip from the context, `{"clip_seconds": 2.0}` by default.
    """

    query: _Text
    vid: _Text
    duration: Annotated[Number, Field(gt=0)]
    """Seconds. Only this: the span in a `vid` is 150 s even where the video is shorter."""
    saliency_scores: tuple[_Ratings, ...] | None = None
    """Ratings 0 (very bad) .. 4 (very good) of each of `relevant_clip_ids` by three annotators."""
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
        clip_seconds = _clip_seconds(info.context)
        if not 1 <= duration / clip_seconds <= MOST_CLIPS:
            raise ValueError(
                f"got {duration:g}, expected 1 to {MOST_CLIPS} clips of {clip_seconds:g} seconds"
            )
        return duration

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
        duration = info.data.get("duration", np.inf)
        clips = duration if duration == np.inf else int(duration / _clip_seconds(info.context))
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

    @property
    def clip_seconds(self) -> float:
        """Length of a clip, from the data set and not from the row."""
        return self._clip_seconds

    @property
    def clips(self) -> int:
        """Number of whole clips, as the official script counts them."""
        return int(self.duration / self._clip_seconds)

    def ratings(self) -> NDArray[np.int64]:
        """Ratings 0..4 as int64 [clips, annotators]; 0 for clips without rating.

        Raises:
            ValueError: the row has no ground truth.
        """
        if self.relevant_clip_ids is None or self.saliency_scores is None:
            raise ValueError(f"qid {self.qid!r} has no saliency_scores")
        ratings = np.zeros((self.clips, ANNOTATORS), dtype=np.int64)
        if self.relevant_clip_ids:
            ratings[list(self.relevant_clip_ids)] = self.saliency_scores
        return ratings


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
    if blind and len(blind) < len(rows):
        raise AnnotationError(
            f"{path}:{blind[0]}: saliency_scores: got none, expected some as on "
            f"{len(rows) - len(blind)} of {len(rows)} lines; a file has ground truth on every line "
            "or on none"
        )
    return list(rows.values())


def _clip_seconds(context: dict[str, float] | None) -> float:
    return (context or {}).get("clip_seconds", CLIP_SECONDS)
