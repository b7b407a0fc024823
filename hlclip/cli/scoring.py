"""Score videos for `hlclip highlight`; a video that cannot be used is named, the others go on."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip

if TYPE_CHECKING:
    from hlclip.highlights import Curve, Moment, Scorer


def curves(
    scorer: "Scorer",
    videos: dict[Path, str],
    batches: Iterable[list[str]],
    failed: dict[str, str],
    *,
    window: int,
    generic: bool = False,
) -> Iterator[tuple[str, "Curve"]]:
    """Yield (vid, curve) of each video and query of each batch; name each video below `window`.

    Args:
        generic: yield one curve per video and batch instead, without a query.
    """
    from hlclip.highlights import WINDOW

    usable, short = dict(videos), set[Path]()
    for queries in batches:
        for path, vid in list(usable.items()):
            del usable[path]
            with recorded(failed, path):
                found = [scorer.generic(path)] if generic else scorer.score(path, queries)
                for curve in found:
                    clips = len(curve.saliency)
                    if window > max(clips, WINDOW) and path not in short:
                        short.add(path)
                        echo(f"{path}: {clips} clips, fewer than --window {window}", err=True)
                    yield vid, curve
                usable[path] = vid
        if not usable:
            return


def at_cuts(
    curve: "Curve", moments: "list[Moment]", failed: dict[str, str], min_seconds: float
) -> "list[Moment]":
    """The moments with their ends at cuts of the video; as they are where it cannot be decoded."""
    from hlclip.highlights.scenes import snapped

    with recorded(failed, curve.video):
        return snapped(curve, moments, min_seconds=min_seconds)
    return moments


@contextmanager
def recorded(failed: dict[str, str], path: Path) -> Iterator[None]:
    """Print, once, why a video cannot be used and record it in `failed`; the others go on."""
    from hlclip.highlights import CutError

    try:
        yield
    except (hlclip.VideoError, CutError) as error:
        if failed.get(str(path)) != str(error):
            echo(str(error), err=True)
        failed[str(path)] = str(error)
