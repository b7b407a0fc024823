"""The QVHighlights submission file: predicted saliency and moments of every query, as JSONL."""

import json
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator

from hlclip.formats.annotations import Annotation
from hlclip.formats.validation import Number, Qid, Row, problem_list, read_rows, shown
from hlclip.system import HlclipError, write_whole

_NAMED_QIDS = 5


class SubmissionError(HlclipError):
    """A submission is malformed, or answers other queries than the annotations or other files."""


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    # Not pydantic's min_length, which reports a second problem where an entry is malformed.
    if not value:
        raise ValueError("got [], expected at least one entry")
    return value


_Windows = Annotated[tuple[tuple[Number, Number, Number], ...], AfterValidator(_not_empty)]
_Scores = Annotated[tuple[Number, ...], AfterValidator(_not_empty)]


class Prediction(Row):
    """A system's answer to one query: saliency scores, moments, or both."""

    query: str = ""
    vid: str = ""
    pred_relevant_windows: _Windows | None = None
    """(start in seconds, end in seconds, confidence), best first.

    An end at or before its start is legal: rounding to whole clips makes empty windows, and the
    official script computes an IoU for them, too.
    """
    pred_saliency_scores: _Scores | None = None
    """One score a clip, any range; only the order within a query counts."""


_KINDS = ("pred_relevant_windows", "pred_saliency_scores")


def read_submission(path: Path | str) -> list[Prediction]:
    """Read and validate a submission file, in file order.

    All rows must have the same of `pred_relevant_windows` and `pred_saliency_scores`; the official
    script looks at the first row only and then fails on another.

    Raises:
        SubmissionError: the file is malformed; lists each problem by line and field. NaN and
            infinite scores are refused, and so are repeated qids, of which the official script
            silently keeps the last.
        OSError: the file cannot be read.
    """
    return list(_read(Path(path)).values())


def read_answers(path: Path | str, queries: Sequence[Annotation]) -> list[Prediction]:
    """Read a submission file as the answers to `queries`, in the order of `queries`.

    The official script matches rows by qid alone. But a qid is unique only within its file, so a
    `vid` or `query` that a prediction names must be that of the annotation.

    Raises:
        SubmissionError: as `read_submission`; a qid has no prediction, or a prediction is for none
            of them, or for another video or text.
        OSError: the file cannot be read.
    """
    remedy = (
        "give the annotations that the predictions were made for, or remove vid and query from the "
        "predictions if their qids are right"
    )
    note = "; the official script compares qids alone and would print figures"
    return _in_order(Path(path), queries, "the annotations", note=note, remedy=remedy)


def read_same_answers(paths: Sequence[Path]) -> list[list[Prediction]]:
    """Read the saliency of several systems for the same queries, each in the order of the first.

    Raises:
        SubmissionError: as `read_submission`; a file has no saliency scores, or other queries,
            videos, texts or numbers of scores than the first.
        OSError: a file cannot be read.
    """
    remedy = "give files with answers to the same queries, one score a clip"
    first = read_submission(paths[0])
    systems = [first, *(_in_order(path, first, str(paths[0]), remedy=remedy) for path in paths[1:])]
    lengths = [
        [len(scores) for scores in saliency_of(rows, path)]
        for rows, path in zip(systems, paths, strict=True)
    ]
    for path, counts in zip(paths, lengths, strict=True):
        other = [at for at, (n, m) in enumerate(zip(counts, lengths[0], strict=True)) if n != m]
        if other:
            at = other[0]
            raise SubmissionError(
                f"{path}: qid {first[at].qid!r} has {counts[at]} scores, expected {lengths[0][at]} "
                f"as in {paths[0]}\nsuch differences in {len(first)} rows: {len(other)}",
                remedy,
            )
    return systems


def _in_order(
    path: Path,
    queries: Sequence[Annotation | Prediction],
    of: str,
    *,
    remedy: str,
    note: str = "",
) -> list[Prediction]:
    """The rows of a file in the order of `queries`, which `of` names in messages."""
    rows = _read(path)
    by_qid = {row.qid: row for row in rows.values()}
    asked = {query.qid: query for query in queries}
    _require_same_qids(path, by_qid, asked, of)
    other: list[str] = []
    for line, row in rows.items():
        for name in ("vid", "query"):
            given, expected = getattr(row, name), getattr(asked[row.qid], name)
            if given != expected and given and expected:
                other.append(
                    f"{path}:{line}: {name}: got {given[:200]!r}, expected {expected[:200]!r} as "
                    f"qid {row.qid!r} has in {of}"
                )
    if other:
        raise SubmissionError(
            f"{other[0]}\nsuch differences in {len(rows)} rows: {len(other)}{note}", remedy
        )
    return [by_qid[query.qid] for query in queries]


def _read(path: Path) -> dict[int, Prediction]:
    """Line -> row, see `read_submission`."""
    rows = read_rows(path, Prediction, error_type=SubmissionError)
    first_line, first = next(iter(rows.items()))
    expected = _kinds(first)
    if not expected:
        raise SubmissionError(f"{path}:{first_line}: got neither, expected {' or '.join(_KINDS)}")
    odd = [
        f"{path}:{line}: {kind}: got {'one' if kind in _kinds(row) else 'none'}, expected "
        f"{'one' if kind in expected else 'none'} as on line {first_line}"
        for line, row in rows.items()
        for kind in sorted(expected ^ _kinds(row))
    ]
    if odd:
        raise SubmissionError(problem_list(odd))
    return rows


def saliency_of(rows: Sequence[Prediction], path: Path | str) -> list[tuple[float, ...]]:
    """The saliency scores of the rows of a submission file.

    Raises:
        SubmissionError: the file has none.
    """
    scores = [row.pred_saliency_scores for row in rows if row.pred_saliency_scores is not None]
    if len(scores) < len(rows):
        raise SubmissionError(
            f"{path}: got rows without pred_saliency_scores, expected one score a clip"
        )
    return scores


def write_submission(path: Path | str, rows: Iterable[Prediction]) -> None:
    """Write a submission file, whole or not at all, in the order of `rows`.

    Saliency scores are float32, written as the shortest decimals that read back as the same
    float32, so that distinct scores never become ties.
    """
    lines: list[str] = []
    for row in rows:
        content = row.model_dump(exclude_none=True)
        if row.pred_saliency_scores is not None:
            shortest = np.asarray(row.pred_saliency_scores, dtype=np.float32).astype(str)
            content["pred_saliency_scores"] = list(map(float, shortest.tolist()))
        lines.append(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")
    write_whole(Path(path), "".join(lines).encode())


def copy_with_windows(
    path: Path | str, out: Path | str, windows: Sequence[Sequence[Sequence[float]]]
) -> None:
    """Copy a submission file that `read_submission` has read, with other windows in its rows.

    All other keys stay as they are, also those that `Prediction` does not have.

    Args:
        windows: (start in seconds, end in seconds, confidence) of each row, in file order.
    """
    content = Path(path).read_bytes().removeprefix(b"\xef\xbb\xbf")
    rows = [json.loads(line) for line in content.split(b"\n") if line.strip()]
    lines = [
        json.dumps(row | {"pred_relevant_windows": found}, ensure_ascii=False) + "\n"
        for row, found in zip(rows, windows, strict=True)
    ]
    write_whole(Path(out), "".join(lines).encode())


def _require_same_qids(path: Path, given: Collection[Qid], asked: Collection[Qid], of: str) -> None:
    missing = [qid for qid in asked if qid not in given]
    unknown = [qid for qid in given if qid not in asked]
    if missing or unknown:
        problems = [f"{path}: its qids are not those of {of}:"]
        if missing:
            problems.append(
                f"  {len(missing)} of {len(asked)} have no prediction: {_named(missing)}"
            )
        if unknown:
            problems.append(f"  {len(unknown)} of {len(given)} are unknown: {_named(unknown)}")
        if {str(qid) for qid in missing} & {str(qid) for qid in unknown}:
            problems.append("  some differ only in type: a number in one file, a text in the other")
        raise SubmissionError("\n".join(problems))


def _kinds(row: Prediction) -> set[str]:
    return {kind for kind in _KINDS if getattr(row, kind) is not None}


def _named(qids: Sequence[Qid]) -> str:
    return ", ".join(map(shown, qids[:_NAMED_QIDS])) + (", ..." if qids[_NAMED_QIDS:] else "")
