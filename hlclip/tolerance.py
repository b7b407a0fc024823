"""One bad video never ends a run of ten thousand: it is named and counted, up to a stated share."""

import logging
import math
from collections.abc import Mapping

from hlclip.errors import HlclipError

log = logging.getLogger(__name__)
_SHOWN = 20


class TooManyMissingError(HlclipError):
    """More videos are missing or unusable than `data.max_missing` tolerates."""


def tolerate(failed: Mapping[str, str], *, total: int, share: float) -> None:
    """Name every failed video with its reason; go on if they are few enough.

    Args:
        failed: vid -> reason, everything that failed so far in this data set.
        total: videos in the data set.
        share: tolerated failures per video, 0..1 (`data.max_missing`).

    Raises:
        TooManyMissingError: `failed` is more than `share` of `total`.
    """
    if not failed:
        return
    for vid in sorted(failed):
        log.warning("  without video: %s: %s", vid, failed[vid])
    found = len(failed) / total
    enough = math.ceil(found * 1e4) / 1e4  # rounded up, so that the advice works
    summary = f"{len(failed)} of {total} videos ({found:.2%}) are missing or unusable"
    if found <= share:
        log.warning("%s; tolerated (data.max_missing is %g)", summary, share)
        return
    shown = [f"  {vid}: {failed[vid]}" for vid in sorted(failed)[:_SHOWN]]
    if len(failed) > _SHOWN:
        shown.append(f"  ... and {len(failed) - _SHOWN} more")
    raise TooManyMissingError(
        "\n".join(
            [
                f"{summary}, more than data.max_missing = {share:g}:",
                *shown,
                f"Add or repair these files, or go on without them: -S data.max_missing={enough:g}",
            ]
        )
    )
