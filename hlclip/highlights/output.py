"""The videos that a user names, and the files and JSON that scoring writes."""

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlclip.evaluation import pool
from hlclip.formats import Prediction, write_submission
from hlclip.highlights.moments import Curve, Moment
from hlclip.system import HlclipError, write_table

log = logging.getLogger(__name__)

_WRITE_SECONDS = 10
"""How often the answers of a long run are written; a killed run loses those of this time."""


class CutError(HlclipError):
    """A film of the best moments cannot be made."""


@dataclass(frozen=True)
class Answer:
    """One query on one video."""

    qid: int
    vid: str
    curve: Curve
    moments: list[Moment]
    """Best first; empty where nothing was found."""
    name: str = ""
    """Of the query, for files and summaries."""
    left_out: Sequence[Moment] = ()
    """Moments that do not reach the lowest rating or score, best first; all below `moments`."""

    @property
    def label(self) -> str:
        """The name of the query, else the query, in one line: what editors and players show."""
        return " ".join((self.name or self.curve.query).split())

    @property
    def title(self) -> str:
        """The query, with the name that the user gave it before it."""
        query = self.curve.query
        return query if self.name in ("", query) else f"{self.name} ({query})"


class FileStems:
    """Names of files without suffix, of a video or of one query on it; none is used twice."""

    def __init__(self) -> None:
        self._stems: dict[object, str] = {}
        self._taken: set[str] = set()

    def video(self, answer: Answer) -> str:
        """`holiday`: the name of the video."""
        return self._unique(answer.vid, answer.vid, answer.qid)

    def query(self, answer: Answer) -> str:
        """`holiday-a-dog`: the names of the video and of the query."""
        words = re.sub(r"\W+", "-", answer.label.lower()).strip("-")
        return self._unique(answer.qid, f"{answer.vid}-{words}", answer.qid)

    def _unique(self, key: object, name: str, number: int) -> str:
        if key not in self._stems:
            # File systems allow names of 255 bytes; the locale may know ASCII only.
            stem = os.fsdecode(name.encode()[:200].decode(errors="ignore").encode())
            while not self._taken.isdisjoint(names := {stem, f"{stem}-sheet"}):
                stem += f"-{number}"
            self._taken |= names
            self._stems[key] = stem
        return self._stems[key]


class ScoreFiles:
    """`scores.jsonl` and `scores.csv` in a folder, written while the answers come.

    Each file is replaced whole: a run that is killed leaves files of its first answers.
    """

    def __init__(self, folder: Path, *, window: int) -> None:
        self.answers: list[Answer] = []
        self.paths = (folder / "scores.jsonl", folder / "scores.csv")
        self._window = window
        self._next_write = 0.0

    def add(self, answer: Answer) -> None:
        """Add an answer; the first is written at once, later ones after `_WRITE_SECONDS`."""
        self.answers.append(answer)
        if time.monotonic() >= self._next_write:
            self.write()
            self._next_write = time.monotonic() + _WRITE_SECONDS

    def write(self) -> None:
        """Write all answers; nothing where there are none."""
        if self.answers:
            write_jsonl(self.paths[0], self.answers, window=self._window)
            write_csv(self.paths[1], self.answers, window=self._window)


def write_jsonl(path: Path, answers: Sequence[Answer], *, window: int) -> None:
    """Write a QVHighlights submission: pooled saliency and moments, a row for each answer.

    The format needs a moment in each row, and its metrics rank: so those left out are there, too.
    """
    write_submission(
        path,
        [
            Prediction(
                qid=answer.qid,
                query=answer.curve.query,
                vid=answer.vid,
                pred_relevant_windows=tuple(map(_row, [*answer.moments, *answer.left_out])),
                pred_saliency_scores=tuple(pool(answer.curve.saliency, window).tolist()),
            )
            for answer in answers
        ],
    )


def write_csv(path: Path, answers: Sequence[Answer], *, window: int) -> None:
    """Write a row for each clip: its range in seconds, score, pooled score, and moment.

    `moment` is the rank of the moment, 1 for the best; it is empty for a clip of no moment. Where
    the model has a map for the window, `rating` and `very_good` of the pooled score follow.
    """
    rows: list[list[object]] = [
        ["qid", "vid", "query", "start", "end", "score", "pooled", "moment"]
    ]
    for answer in answers:
        curve = answer.curve
        expected = curve.expected(window)
        if expected and len(rows) == 1:
            rows[0] += expected._fields
        ranks = {
            clip: rank for rank, moment in enumerate(answer.moments, 1) for clip in moment.clips
        }
        pooled = pool(curve.saliency, window)
        for clip, (score, mean) in enumerate(zip(curve.saliency, pooled, strict=True)):
            start, end = f"{clip * curve.clip_seconds:g}", f"{curve.end_seconds(clip):g}"
            facts = [answer.qid, answer.vid, curve.query, start, end]
            worth = [f"{each[clip]:.4f}" for each in expected or ()]
            rows.append([*facts, score, mean, ranks.get(clip, ""), *worth])
    write_table(path, rows)


def as_json(
    answers: Sequence[Answer],
    failed: Mapping[str, str],
    files: Sequence[Path],
    *,
    window: int,
    facts: Mapping[str, object],
) -> dict[str, object]:
    """Everything that the text and the files say, for other programs.

    Args:
        failed: videos and lines of queries that could not be used -> reason.
        files: that were written.
        facts: of the run: its model and settings.
    """
    return {
        **facts,
        "answers": [
            {
                "qid": answer.qid,
                "vid": answer.vid,
                "video": str(answer.curve.video),
                "name": answer.name or answer.curve.query,
                "query": answer.curve.query,
                "measure": answer.curve.measure,
                "duration": answer.curve.duration,
                "clip_seconds": answer.curve.clip_seconds,
                "moments": [_facts(moment) for moment in answer.moments],
                "left_out": [_facts(moment) for moment in answer.left_out],
                "clips": _clips(answer.curve, window),
            }
            for answer in answers
        ],
        "failed": failed,
        "files": [str(path) for path in files],
    }


def _clips(curve: Curve, window: int) -> dict[str, list[float]]:
    """The columns of `scores.csv`, a number for each clip."""
    expected = curve.expected(window)
    columns = {"score": curve.saliency, "pooled": pool(curve.saliency, window)}
    columns |= expected._asdict() if expected else {}
    return {name: column.tolist() for name, column in columns.items()}


def _row(moment: Moment) -> tuple[float, float, float]:
    return moment.start_seconds, moment.end_seconds, moment.score


def _facts(moment: Moment) -> dict[str, float | None]:
    start, end, score = _row(moment)
    facts = {"start": start, "end": end, "score": score, "doubtful": moment.doubtful}
    if moment.rating is None:
        return facts
    return {**facts, "rating": moment.rating, "very_good": moment.very_good}


_VIDEO_NAME = re.compile(
    r"[^.].*\.(mp4|m4v|mov|mkv|webm|avi|wmv|asf|flv|f4v|mpe?g|m2v|m?ts|m2ts|vob|og[vm]|3g[p2]|mxf|"
    r"divx|rm|rmvb|dv|nut|gif|apng)",
    re.IGNORECASE | re.DOTALL,
)
"""Names of the files in a folder that are taken as videos; a file that is named always is."""

FILMS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".ts", ".mts"),
    *(".mpg", ".mpeg", ".ogv"),
)
"""Suffixes of the films that ffmpeg is asked to write."""


def name_videos(paths: Iterable[Path]) -> dict[Path, str]:
    """Give each video a unique vid: its name without suffix, or more of its path.

    Args:
        paths: videos, and folders of videos, which are read in the order of names.

    Raises:
        HlclipError: a path does not exist, or a folder holds no video.
    """
    names: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            raise HlclipError(f"{path}: no such file or folder, expected a video")
        for video in _videos_in(path) if path.is_dir() else [path]:
            if video in names:
                continue
            candidates = [video.stem, video.name, f"{video.absolute().parent.name}_{video.name}"]
            candidates += [f"{video.stem}_{number}" for number in range(2, len(names) + 3)]
            names[video] = next(name for name in candidates if name not in names.values())
    return names


def _videos_in(folder: Path) -> list[Path]:
    # What is no file, such as a link without a target, is named when it cannot be used.
    paths = sorted(path for path in folder.iterdir() if not path.is_dir())
    videos = [path for path in paths if _VIDEO_NAME.fullmatch(path.name)]
    for path in paths:
        if path.suffix.lower() == ".webp":
            log.warning("%s: left out, WebP animations are not read; GIF and APNG are", path)
    if not videos:
        raise HlclipError(
            f"{folder}: this folder holds no video, expected files such as film.mp4 (not in "
            "subfolders)"
        )
    return videos


def check_film(video: Path, out: Path, *, overwrite: bool) -> None:
    """Refuse a file name that a film of `video` must not or cannot have.

    Raises:
        HlclipError: `out` exists, is the video itself or a folder, is not UTF-8, or has a suffix
            that is not one of `FILMS`.
    """
    if not out.suffix:
        raise HlclipError(f"{out}: has no suffix, expected the name of a film, such as {out}.mp4")
    if out.suffix.lower() not in FILMS:
        raise HlclipError(f"{out}: suffix {out.suffix}, expected one of {', '.join(FILMS)}")
    if out.is_dir():
        raise HlclipError(f"{out}: is a folder, expected the name of a film")
    try:
        str(out.absolute()).encode()
    except UnicodeEncodeError as error:  # ffmpeg-python takes nothing else
        raise HlclipError(f"{out}: this path is not UTF-8, choose another name") from error
    if out.exists() and out.samefile(video):
        raise HlclipError(f"{out}: is the video itself, which is never overwritten")
    if out.exists() and not overwrite:
        raise HlclipError(f"{out}: exists", "choose another name or replace it (--force)")


def clip_suffix(video: Path) -> str:
    """The suffix of films of single moments: the video's own where a film may have it."""
    return video.suffix if video.suffix.lower() in FILMS else ".mp4"
