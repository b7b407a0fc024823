"""Problems of input in words: `field: got this, expected that`; files that are damaged."""

import re
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hlclip.system import HlclipError

_SHOWN_PROBLEMS = 20
_SHOWN_LETTERS = 200


class DamagedFileError(HlclipError):
    """A file between two stages is not as hlclip wrote it; the message names it."""


@contextmanager
def refusing_damage(
    path: Path, stage: str, error_type: type[HlclipError] = DamagedFileError
) -> Iterator[None]:
    """What fails while the content of `path` is parsed is damage to that file of `stage`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = problems_of(error)[0] if isinstance(error, ValidationError) else str(error)
        first_line = reason.split("\n")[0]
        raise error_type(
            f"{path}: damaged, or not written by hlclip ({first_line})",
            f"`dvc repro --force {stage}` makes it again",
        ) from error


def shown(value: object) -> str:
    """A value in an error message: abbreviated, also where it contains itself."""
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."


def problem_list(problems: list[str]) -> str:
    """The first problems, one a line, and a count of the rest."""
    lines = problems[:_SHOWN_PROBLEMS]
    rest = len(problems) - len(lines)
    if rest:
        lines.append(f"... and {rest} more problem{'s' if rest > 1 else ''}")
    return "\n".join(lines)


def problems_of(failure: ValidationError) -> list[str]:
    """Every problem that pydantic found, with the field's path: `train.lr`, `scores[2][0]`."""
    return [_problem(error) for error in failure.errors()]


def _problem(error: ErrorDetails) -> str:
    kind, message = error["type"], error["msg"]
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"])
    field = "".join(parts).removeprefix(".")
    prefix = f"{field}: " if field else ""
    if kind == "json_invalid":
        return _not_json(error["input"], message)
    if kind == "missing":
        return f"{prefix}missing, expected a value"
    if kind == "extra_forbidden":
        return f"{prefix}unknown key; remove it or correct its spelling"
    if kind == "value_error":  # our own validators name both the value and what is expected
        return prefix + message.removeprefix("Value error, ")
    if kind in ("model_type", "dataclass_type"):
        expected = "an object of keys and values"
    elif kind == "too_long":
        expected = f"{error.get('ctx', {})['max_length']} entries"
    else:
        expected = re.sub(r"^\w+ should (be |have )?", "", message).replace("valid array", "list")
    return f"{prefix}got {shown(error['input'])}, expected {expected}"


def _not_json(line: bytes, message: str) -> str:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as failure:
        return f"got bytes that are not UTF-8 (column {failure.start + 1}), expected UTF-8 text"
    reason = message.removeprefix("Invalid JSON: ").replace(" at line 1 column", ", column")
    return f"got {shown(text)}, expected JSON ({reason})"
