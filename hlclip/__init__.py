"""Open reference implementation of HL-CLIP: CLIP fine-tuned for video highlight detection.

    from hlclip import best_moments, load_scorer

    scorer = load_scorer("outputs/train.safetensors")
    for curve in scorer.score("holiday.mp4", ["a dog on the beach", "people dancing"]):
        print(curve.query, best_moments(curve, top=3))

The names below are the public ones. They are imported at first use: `import hlclip` loads no torch.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from hlclip.evaluation.pooling import pool as pool
    from hlclip.highlights.drawings import contact_sheet as contact_sheet
    from hlclip.highlights.drawings import plot_curve as plot_curve
    from hlclip.highlights.film import cut_moments as cut_moments
    from hlclip.highlights.moments import Curve as Curve
    from hlclip.highlights.moments import Moment as Moment
    from hlclip.highlights.moments import best_moments as best_moments
    from hlclip.highlights.scorer import Scorer as Scorer
    from hlclip.highlights.scorer import load_scorer as load_scorer
    from hlclip.system.errors import HlclipError as HlclipError
    from hlclip.video.container import VideoError as VideoError

# On a disk that is full, Python before 3.12.8 leaves half of a module's bytecode, at which every
# later run would end (https://github.com/python/cpython/issues/126606).
_disk = os.statvfs(__path__[0])
if _disk.f_bavail * _disk.f_frsize < 2**24:
    sys.dont_write_bytecode = True

PUBLIC = {
    "Curve": "highlights.moments",
    "HlclipError": "system.errors",
    "Moment": "highlights.moments",
    "Scorer": "highlights.scorer",
    "VideoError": "video.container",
    "best_moments": "highlights.moments",
    "contact_sheet": "highlights.drawings",
    "cut_moments": "highlights.film",
    "load_scorer": "highlights.scorer",
    "plot_curve": "highlights.drawings",
    "pool": "evaluation.pooling",
}
"""Public name -> its module."""


def __getattr__(name: str) -> Any:
    if name == "__version__":  # pyproject.toml has it, and the package's metadata repeats it
        return import_module("importlib.metadata").version("hlclip")
    if name not in PUBLIC:
        raise AttributeError(f"module 'hlclip' has no attribute {name!r}")
    return getattr(import_module(f"hlclip.{PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC, "__version__"})
