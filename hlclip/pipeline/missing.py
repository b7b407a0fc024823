"""One bad video never ends a run of ten thousand: it is named and counted, up to a stated share."""

import logging
import math
from collections.abc import Mapping

from hlclip.system import HlclipError

log = logging.getLogger(__name__)
_SHOWN = 20


class TooManyMissingError(HlclipError):
    """More videos are missing or unusable than `data.max_missing` tolerates."""


def check_missing(failed: Mapping[str, str], *, total: int, share: float) -> None:
    """Name failed videos with their reasons; go on if they are few enough.

    What is tolerated is named in the manifest that the stage then writes, so that a log of a data
    set with thousands of missing videos stays readable: it names some. An error names all.

    Args:
        failed: vid -> reason, everything that failed so far in this data set.
        total: videos in the data set.
        share: tolerated failures per video, 0..1 (`data.max_missing`).

    Raises:
        TooManyMissingError: `failed` is more than `share` of `total`.
    """
    if not failed:
        return
    found = len(failed) / total
    enough = math.ceil(found * 1e4) / 1e4  # rounded up, so that the advice works
    summary = f"{len(failed)} of {total} videos ({found:.2%}) are missing or unusable"
    named = [f"  {vid}: {failed[vid]}" for vid in sorted(failed)]
    if found > share:
        raise TooManyMissingError(
            "\n".join(
                [
                    f"{summary}, more than data.max_missing = {share:g}:",
                    *named,
                    f"{summary}. Add or repair them, or go on without them: "
                    f"-S data.max_missing={enough:g}",
                ]
            )
        )
    if len(named) > _SHOWN:
        named[_SHOWN:] = [f"  ... and {len(named) - _SHOWN} more, named in the manifest"]
    log.warning(
        "%s; tolerated (data.max_missing is %g), without:\n%s", summary, share, "\n".join(named)
    )
