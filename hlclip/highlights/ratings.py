"""What the scores of a model are worth, as a finished run has measured it on annotated videos."""

import logging
import os
from dataclasses import asdict
from pathlib import Path

from hlclip.formats import (
    CALIBRATION_FILE,
    ZERO_SHOT,
    ScoreMap,
    check_origin,
    mean_of,
    read_calibration,
)
from hlclip.highlights.model_cache import ModelFacts
from hlclip.system import HlclipError

log = logging.getLogger(__name__)

_REMEDY = f"name the {CALIBRATION_FILE} of a run with this model, or leave it out"


def find_maps(
    calibration: Path | None, checkpoint: Path | None, facts: ModelFacts
) -> dict[int, ScoreMap]:
    """The maps of a model: pooling window of own videos in clips -> map.

    Args:
        calibration: the file that a user names. None is `calibration.json` in the folder of the
            checkpoint: where it is absent there are no maps, and where it cannot be used a warning
            says why.

    Raises:
        StaleFileError: the named file belongs to another model.
        DamagedFileError: it is damaged.
        HlclipError: it has no map.
    """
    if calibration is not None:
        return _read(calibration, facts)
    if checkpoint is None or not os.path.lexists(path := checkpoint.parent / CALIBRATION_FILE):
        return {}
    try:
        return _read(path, facts)
    except (HlclipError, OSError) as error:
        reason = error.reason if isinstance(error, HlclipError) else f"{path}: {error.strerror}"
        log.warning("%s; scores are shown without ratings", reason)
        return {}


def _read(path: Path, facts: ModelFacts) -> dict[int, ScoreMap]:
    found = read_calibration(path)
    zero_shot = facts.variant == ZERO_SHOT
    expected = {"weights": facts.images["weights"], "clip_seconds": facts.clip_seconds}
    if not zero_shot:  # zero-shot scores do not depend on the checkpoint
        expected["checkpoint"] = facts.variant
    check_origin(path, asdict(found.origin), expected, remedy=_REMEDY)
    maps = [each for each in found.maps if (each.variant == ZERO_SHOT) == zero_shot]
    own = [each for each in maps if each.pooling == mean_of(int(each.pooling.width))]
    if not own:
        raise HlclipError(f"{path}: has no map: {found.missing or 'none is of this model'}")
    return {int(each.pooling.width): each for each in own}
