"""What a person names, and what scoring writes: videos in, submission rows, tables and JSON out."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hlclip.evaluation import pool
from hlclip.formats import Prediction, write_submission
from hlclip.highlights.moments import Curve, Moment
from hlclip.system import HlclipError, write_table


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


_VIDEO_NAME = re.compile(
    r"[^.].*\.(mp4|m4v|mov|mkv|webm|avi|wmv|asf|flv|f4v|mpe?g|m2v|m?ts|m2ts|vob|og[vm]|3g[p2]|mxf|"
    r"divx|rm|rmvb|dv|nut|gif)",
    re.IGNORECASE,
)
"""A file in a folder is taken for a video by these; a file that is named is taken as it is."""


FILMS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".ts", ".mts"),
    *(".mpg", ".mpeg", ".ogv"),
)
"""Suffixes of the films that ffmpeg is asked to write."""


def find_videos(paths: Iterable[Path]) -> list[Path]:
    """Files in the order given, a folder's by name; each once.

    Raises:
        HlclipError: nothing is there by that name, or a folder holds no video.
    """
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = [
                file
                for file in sorted(path.iterdir())
                if _VIDEO_NAME.fullmatch(file.name) and file.is_file()
            ]
            if not inside:
                raise HlclipError(
                    f"{path}: this folder holds no video, expected files such as "
                    "film.mp4 (folders inside are not searched)"
                )
            found.update(dict.fromkeys(inside))
        elif path.exists():
            found[path] = None
        else:
            raise HlclipError(f"{path}: no such file or folder, expected a video")
    return list(found)


def name_videos(paths: Iterable[Path]) -> dict[Path, str]:
    """A vid for each file: its name without suffix, made unique where two would be alike."""
    names: dict[Path, str] = {}
    for path in paths:
        candidates = [path.stem, path.name, f"{path.absolute().parent.name}_{path.name}"]
        candidates += [f"{path.stem}_{number}" for number in range(2, len(names) + 3)]
        names[path] = next(name for name in candidates if name not in names.values())
    return names


def check_film(video: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse to write a film of `video` to `out` where that would lose something or cannot be.

    Raises:
        HlclipError: `out` is there already, is the video itself, a folder, or has another
            suffix than `FILMS`.
    """
    if not out.suffix:
        raise HlclipError(f"{out}: has no suffix, expected a film's name, such as {out}.mp4")
    if out.suffix.lower() not in FILMS:
        raise HlclipError(
            f"{out}: no film is written with the suffix {out.suffix}, expected one of "
            f"{', '.join(FILMS)}"
        )
    if out.is_dir():
        raise HlclipError(f"{out}: is a folder, expected the name of a film")
    if out.exists() and out.samefile(video):
        raise HlclipError(f"{out}: is the video itself, which is never overwritten")
    if out.exists() and not overwrite:
        raise HlclipError(f"{out}: is there already; choose another name or replace it (--force)")
