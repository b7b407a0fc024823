"""What scoring one's own videos found, as files: submission rows, a table of clips, JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlclip.evaluation.pooling import pool
from hlclip.formats.submissions import Prediction, write_submission
from hlclip.highlights.moments import Curve, Moment
from hlclip.system.files import write_table


@dataclass(frozen=True)
class Answer:
    """One query on one video."""

    qid: int
    vid: str
    curve: Curve
    moments: list[Moment]
    """Best first."""


def write_jsonl(path: Path, answers: Sequence[Answer], *, window: int) -> None:
    """Write the QVHighlights submission format: pooled saliency and moments, a row an answer."""
    write_submission(
        path,
        [
            Prediction(
                qid=answer.qid,
                query=answer.curve.query,
                vid=answer.vid,
                pred_relevant_windows=tuple(
                    (moment.start_seconds, moment.end_seconds, moment.score)
                    for moment in answer.moments
                ),
                pred_saliency_scores=tuple(pool(answer.curve.saliency, window).tolist()),
            )
            for answer in answers
        ],
    )


def write_csv(path: Path, answers: Sequence[Answer], *, window: int) -> None:
    """Write a line a clip: its range in seconds, its score, the pooled score, and its moment.

    `moment` is the moment's rank, 1 for the best, and empty for clips of none.
    """
    rows: list[list[object]] = [
        ["qid", "vid", "query", "start", "end", "score", "pooled", "moment"]
    ]
    for answer in answers:
        curve = answer.curve
        rank = {
            clip: number
            for number, moment in enumerate(answer.moments, start=1)
            for clip in moment.clips
        }
        pooled = pool(curve.saliency, window)
        for clip, (score, mean) in enumerate(zip(curve.saliency, pooled, strict=True)):
            rows.append(
                [
                    *(answer.qid, answer.vid, curve.query),
                    *(f"{clip * curve.clip_seconds:g}", f"{curve.end_seconds(clip):g}"),
                    *(score, mean, rank.get(clip, "")),
                ]
            )
    write_table(path, rows)


def as_json(answers: Sequence[Answer], failed: dict[str, str], files: Sequence[Path]) -> Any:
    """The same for other programs: answers, what failed and why, and the files written."""
    return {
        "answers": [
            {
                "qid": answer.qid,
                "vid": answer.vid,
                "video": str(answer.curve.video),
                "query": answer.curve.query,
                "duration": answer.curve.duration,
                "clip_seconds": answer.curve.clip_seconds,
                "moments": [
                    {
                        "start": moment.start_seconds,
                        "end": moment.end_seconds,
                        "score": moment.score,
                    }
                    for moment in answer.moments
                ],
            }
            for answer in answers
        ],
        "failed": failed,
        "files": [str(path) for path in files],
    }
