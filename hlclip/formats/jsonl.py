"""Files of rows (JSONL, one object a line), read and validated; an error lists every problem."""

import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Strict, ValidationError

from hlclip.formats.problems import problem_list, problems_of, shown


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
    path: Path, row: type[AnyRow], *, error_type: type[ValueError], **context: Any
) -> dict[int, AnyRow]:
    """Rows of a JSONL file by line number, from 1; blank lines are skipped.

    Args:
        row: the pydantic model of a line.
        error_type: raised with the list of problems.
        context: of the model's validators.

    Raises:
        error_type: malformed lines, a key twice, two rows of one qid, or no row at all.
    """
    rows: dict[int, AnyRow] = {}
    first_line: dict[int | str, int] = {}
    problems: list[str] = []
    # Bytes, cut at line feeds alone: str.splitlines would also cut at U+2028 inside a query.
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
