"""Files of a run, each refused where it is missing or not as hlclip writes it."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from hlclip.system import HlclipError

_Content = TypeVar("_Content")


class ReportError(HlclipError):
    """A run is not finished, or its files are not of one run."""


def read_output(path: Path, read: Callable[[Path], _Content]) -> _Content:
    if not path.exists():
        raise ReportError(
            f"{path}: not there",
            "name the folder of a finished run; in a project `dvc repro` makes one",
        )
    try:
        return read(path)
    except HlclipError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ReportError(
            f"{path}: not as hlclip writes it ({error!r})", "remove it and run `dvc repro`"
        ) from error


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
