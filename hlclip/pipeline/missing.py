"""How many videos may be missing: a run goes on without a stated share, and names them."""

import logging
import math
from collections.abc import Mapping

from hlclip.formats import Index
from hlclip.params import Split
from hlclip.system import HlclipError

log = logging.getLogger(__name__)
_SHOWN = 20


class TooManyMissingError(HlclipError):
    """More videos failed than `data.max_missing` tolerates, or all of a split that is needed."""


def check_missing(
    failed: Mapping[str, str], *, total: int, share: float, shown: int | None = _SHOWN
) -> None:
    """Name failed videos with their reasons; raise if they are too many.

    An error names all of them. A warning names the first few, so that the log of a data set with
    thousands of missing videos stays readable; the stage's manifest names the rest.

    Args:
        failed: vid -> reason, of every video of the data set that failed so far.
        total: videos in the data set.
        share: tolerated share of failed videos, 0..1 (`data.max_missing`).
        shown: so many does a warning name; None where no manifest names the rest.
    """
    if not failed:
        return
    failed_share = len(failed) / total
    summary = f"{len(failed)} of {total} videos ({failed_share:.2%}) are missing or unusable"
    named = [f"  {vid}: {failed[vid]}" for vid in sorted(failed)]
    if failed_share > share:
        rounded_up = math.ceil(failed_share * 1e4) / 1e4  # so that the advice works
        raise TooManyMissingError(
            "\n".join([f"{summary}, more than data.max_missing = {share:g}:", *named]),
            f"{summary}: add or repair them, or go on without them",
            settings={"data.max_missing": f"{rounded_up:g}"},
        )
    if shown is not None and len(named) > shown:
        named[shown:] = [f"  ... and {len(named) - shown} more, named in the manifest"]
    log.warning(
        "%s; tolerated (data.max_missing is %g), without:\n%s", summary, share, "\n".join(named)
    )


def check_splits(index: Index, failed: Mapping[str, str], needed: Mapping[Split, str]) -> None:
    """Raise if no video of a needed split is left, whatever `data.max_missing` tolerates.

    Args:
        failed: as in `check_missing`.
        needed: split -> what it is needed for, see `Params.needed_splits`.
    """
    for split, purpose in needed.items():
        vids = {row.vid for row in index.queries[split]}
        if vids <= failed.keys():
            vid = min(vids)
            raise TooManyMissingError(
                f"none of the {len(vids)} videos of {split} can be used, but {purpose}; the first: "
                f"{vid}: {failed[vid]}",
                f"add or repair videos of {split}, or change that parameter",
            )
