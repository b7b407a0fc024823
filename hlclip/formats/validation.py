"""Validates rows and stored files; a problem is one line, `field: got this, expected that`."""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError
from pydantic_core import ErrorDetails

from hlclip.formats.file_kinds import other_kind
from hlclip.system import HlclipError, naming

_SHOWN_PROBLEMS = 20
_SHOWN_LETTERS = 200


def _integer_or_text(value: object) -> object:
    # Before the union, which would otherwise report one problem for each of its members.
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"got {shown(value)}, expected an integer or a text")
    return value


# JSON numbers only: the text "150" and `true` are refused.
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Qid = Annotated[int | str, BeforeValidator(_integer_or_text)]


class Row(BaseModel):
    """Base of the rows of every file. Unknown keys are ignored: files of the field vary."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    qid: Qid


AnyRow = TypeVar("AnyRow", bound=Row)


def read_rows(
    path: Path, row: type[AnyRow], *, error_type: type[HlclipError], **context: Any
) -> dict[int, AnyRow]:
    """Rows of a JSONL file by line number, from 1; blank lines are skipped.

    Args:
        row: the pydantic model of a line.
        error_type: raised with the list of problems.
        context: of the model's validators.

    Raises:
        error_type: no JSONL, malformed lines, a key twice, two rows of one qid, or no row at all.
    """
    rows: dict[int, AnyRow] = {}
    first_line: dict[int | str, int] = {}
    problems: list[str] = []
    # Bytes, cut at line feeds alone: str.splitlines would also cut at U+2028 inside a query.
    with naming(path):
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            rows[number] = row.model_validate_json(line, context=context)
            of_line = _repeated_keys(line)
        except ValidationError as failure:
            of_line = problems_of(failure)
        with suppress(ValidationError):  # a row with other problems may be a duplicate, too
            qid = Row.model_validate_json(line).qid
            if first_line.setdefault(qid, number) != number:
                of_line.append(
                    f"qid: got {qid!r}, already on line {first_line[qid]}; expected each qid once"
                )
        problems += [f"{path}:{number}: {problem}" for problem in of_line]
    if not rows and not problems:
        problems.append(f"{path}: got an empty file, expected one JSON object a line")
    if problems:
        # A file of another kind has a problem in nearly every line; none of them says what it is.
        kind = other_kind(path, content)
        if kind:
            raise error_type(f"{path}: got {kind[0]}, expected one JSON object a line", kind[1])
        raise error_type(problem_list(problems))
    return rows


def _repeated_keys(line: bytes) -> list[str]:
    """Problems of keys that occur twice in an object; JSON readers silently take the last."""
    problems: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                problems.append(f"{shown(key)}: got it twice, expected each key once")

    json.loads(line, object_pairs_hook=note)
    return problems


class DamagedFileError(HlclipError):
    """A file between two stages is not as hlclip wrote it; the message names it."""


class StaleFileError(HlclipError):
    """A file between two stages was made by another run than the files or parameters around it."""


@contextmanager
def refusing_damage(
    path: Path,
    stage: str,
    error_type: type[HlclipError] = DamagedFileError,
    *,
    remedy: str = "",
) -> Iterator[None]:
    """What fails while the content of `path` is parsed is damage to that file of `stage`."""
    try:
        with naming(path):
            yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        reason = problems_of(error)[0] if isinstance(error, ValidationError) else str(error)
        first_line = reason.split("\n")[0]
        raise error_type(
            f"{path}: damaged, or not written by hlclip ({first_line})",
            remedy or f"`dvc repro --force {stage}` makes it again",
        ) from error


def check_origin(
    path: Path, found: Mapping[str, Any], expected: Mapping[str, Any], *, remedy: str = ""
) -> None:
    """Refuse a file between two stages that was not made with what is expected.

    Args:
        found, expected: facts by name, for the message; all of `expected` are compared.
        remedy: where a file may be named that DVC does not make.

    Raises:
        StaleFileError: some fact differs.
    """
    for name, value in expected.items():
        if found.get(name) != value:
            raise StaleFileError(
                f"{path}: is of another run: {name} is {shown(found.get(name))}, expected "
                f"{shown(value)}",
                remedy
                or "`dvc repro` makes what is out of date again; if DVC finds nothing to make, "
                "`dvc repro --force` makes everything",
            )


def shown(value: object) -> str:
    """A value in an error message: abbreviated, also where it contains itself."""
    text = reprlib.repr(value)
    return text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]}..."


def problem_list(problems: list[str]) -> str:
    """The first problems, one per line, and a count of the rest."""
    lines = problems[:_SHOWN_PROBLEMS]
    rest = len(problems) - len(lines)
    if rest:
        lines.append(f"... and {rest} more problem{'s' if rest > 1 else ''}")
    return "\n".join(lines)


def or_word(word: str, allowed: Callable[[Any], bool], expected: str) -> BeforeValidator:
    """The check of a key that has such a value, or a word; a union would report two problems."""

    def check(value: object) -> object:
        if value != word and not allowed(value):
            raise ValueError(f"expected {expected}, or {word}; got {shown(value)}")
        return value

    return BeforeValidator(check)


def problems_of(failure: ValidationError) -> list[str]:
    """Every problem that pydantic found, with the field's path: `train.lr`, `scores[2][0]`."""
    errors = failure.errors()
    places = [error["loc"] for error in errors]
    return [
        _problem(error)
        for error in errors
        # Too few entries, because pydantic does not count those that have problems of their own.
        if not (
            error["type"] == "too_short"
            and any(
                place != error["loc"] and place[: len(error["loc"])] == error["loc"]
                for place in places
            )
        )
    ]


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
    elif kind == "too_short":
        expected = f"at least {error.get('ctx', {})['min_length']}"
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
