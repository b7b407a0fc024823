"""`calibration.json`: what the scores of a checkpoint are worth, fitted on val."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter

from hlclip.formats.annotations import MAX_RATING
from hlclip.formats.scores import Origin
from hlclip.formats.validation import Number, refusing_damage
from hlclip.system import write_json

CALIBRATION_FILE = "calibration.json"
"""Its name, in the folder of the checkpoint."""


def _rising(knots: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if any(b[0] <= a[0] or b[1] < a[1] for a, b in pairwise(knots)):
        raise ValueError("got a map that falls, expected rising scores and values")
    return knots


_Share = Annotated[Number, Field(ge=0, le=1)]
_Rating = Annotated[Number, Field(ge=0, le=MAX_RATING)]
_Whole = Field(min_length=1), AfterValidator(_rising)


@dataclass(frozen=True)
class Pooling:
    """How scores were pooled, see `hlclip.evaluation.pool`."""

    mode: str
    width: Number
    """Window or sigma in clips."""
    border: str


@dataclass(frozen=True)
class ScoreMap:
    """What the pooled scores of one variant are worth; see `hlclip.evaluation.apply_map`."""

    variant: str
    pooling: Pooling
    rating: Annotated[tuple[tuple[Number, _Rating], ...], *_Whole]
    """Knots (score, expected rating 0..4, mean of the annotators)."""
    very_good: Annotated[tuple[tuple[Number, _Share], ...], *_Whole]
    """Knots (score, probability 0..1 that an annotator rates the clip 4)."""


@dataclass(frozen=True)
class Calibration:
    """The maps of a run, and what they belong to."""

    origin: Origin
    """The checkpoint that the maps belong to; those of zero-shot CLIP belong to its weights."""
    clips: int
    """Clips of val that the maps were fitted on."""
    missing: str
    """Why there is no map; empty if there are some."""
    maps: tuple[ScoreMap, ...]

    def find(self, variant: str, pooling: Pooling) -> ScoreMap | None:
        """The map of a variant and a pooling; None if there is none."""
        found = (each for each in self.maps if (each.variant, each.pooling) == (variant, pooling))
        return next(found, None)


def mean_of(window: int) -> Pooling:
    """The pooling of own videos: the mean of the clips in the window that exist; 1 is none."""
    return Pooling("mean", float(window), "neighbours")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write the maps: same maps, same bytes."""
    write_json(path, asdict(calibration))


def read_calibration(path: Path) -> Calibration:
    """Read what `write_calibration` wrote.

    Raises:
        DamagedFileError: it is damaged.
        OSError: it cannot be read.
    """
    remedy = f"name the {CALIBRATION_FILE} of a run; `dvc repro --force evaluate` makes it again"
    with refusing_damage(path, "evaluate", remedy=remedy):
        return TypeAdapter(Calibration).validate_json(path.read_bytes())
