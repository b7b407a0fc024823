"""Files of the moments for other programs: editors, players, spreadsheets and YouTube."""

import html
import logging
from collections.abc import Callable, Collection, Sequence
from math import floor
from pathlib import Path

from hlclip.highlights import timelines
from hlclip.highlights.media import Media, read_media
from hlclip.highlights.moments import Moment, clock
from hlclip.highlights.output import Answer, FileStems
from hlclip.system import write_table, write_whole

log = logging.getLogger(__name__)

_TIMELINES: dict[str, Callable[[Answer, Media], str]] = {
    "otio": timelines.otio,
    "xml": timelines.xml,
    "edl": timelines.edl,
}

_CHAPTER_SECONDS = 10
_FEWEST_CHAPTERS = 3
"""YouTube shows chapters if three or more last ten seconds or more and the first begins at 0:00."""

_BRACKETS = str.maketrans("<>", "()")
"""YouTube refuses a description with angle brackets."""


def export_moments(
    answers: Sequence[Answer], folder: Path, formats: Collection[str], stems: FileStems
) -> list[Path]:
    """Write the moments of one video in formats of `--export`; each file is replaced whole.

    A timeline (`otio`, `xml`, `edl`) is a cut of its own, so each query has one. Subtitles (`vtt`)
    and chapters go with the video, so all queries share them. `csv` is one table of all videos,
    see `export_table`.

    Returns:
        The files.

    Raises:
        VideoError: the header of the video cannot be read.
        HlclipError: OpenTimelineIO is not installed, or a format cannot hold the moments.
    """
    video, paths = stems.video(answers[0]), list[Path]()

    def write(name: str, content: str) -> None:
        paths.append(folder / name)
        write_whole(paths[-1], content.encode())

    wanted = [name for name in _TIMELINES if name in formats]
    if wanted:
        path = answers[0].curve.video
        media = read_media(path)
        if media.varies:
            log.warning(
                "%s: its frame rate varies; timelines count %g frames per second, and an editor "
                "may show other frames: convert it to a constant rate first",
                *(path, media.rate),
            )
        for name in wanted:
            for answer in answers:
                write(f"{stems.query(answer)}.{name}", _TIMELINES[name](answer, media))
    if "vtt" in formats:
        write(f"{video}.vtt", _vtt(answers))
    if "chapters" in formats:
        write(f"{video}-chapters.txt", _chapters(answers, f"{video}-chapters.txt"))
    return paths


def export_table(answers: Sequence[Answer], path: Path) -> None:
    """Write a CSV file with a row for each moment of each query and video, best first."""
    rows: list[list[object]] = [["qid", "vid", "query", "rank", "start", "end", "score"]]
    if any(moment.rating is not None for answer in answers for moment in answer.moments):
        rows[0] += ["rating", "very_good"]
    for answer in answers:
        for rank, moment in enumerate(answer.moments, start=1):
            times = [f"{second:.3f}" for second in (moment.start_seconds, moment.end_seconds)]
            facts = [answer.qid, answer.vid, answer.curve.query, rank, *times, moment.score]
            rows.append([*facts, *(moment.rating, moment.very_good)[: len(rows[0]) - len(facts)]])
    write_table(path, rows)


def _ranked(answers: Sequence[Answer]) -> list[tuple[int, Answer, Moment]]:
    """(rank, answer, moment) of every moment: the best of each query, then the second best."""
    ranked = [(rank, a, m) for a in answers for rank, m in enumerate(a.moments, start=1)]
    return sorted(ranked, key=lambda each: each[0])


def _vtt(answers: Sequence[Answer]) -> str:
    """WebVTT with a cue for each moment, in the order of time; cues of two queries may overlap."""
    cues = ["WEBVTT\n"]
    for rank, answer, moment in sorted(_ranked(answers), key=lambda each: each[2].start_seconds):
        times = " --> ".join(map(_milliseconds, (moment.start_seconds, moment.end_seconds)))
        query = html.escape(answer.label, quote=False)
        worth = f", {moment.worth}" if moment.worth else ""
        facts = f"rank {rank} of {len(answer.moments)}, score {moment.score:.4f}{worth}"
        cues.append(f"{answer.qid}-{rank}\n{times}\n{query}\n{facts}\n")
    return "\n".join(cues)


def _milliseconds(seconds: float) -> str:
    whole, part = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{part:03}"


def _chapters(answers: Sequence[Answer], name: str) -> str:
    """Lines for the description of a video on YouTube: a chapter begins where a moment begins.

    A moment within the first ten seconds begins at 0:00. Better moments come first: one that would
    make a chapter shorter than ten seconds has none.
    """
    duration = answers[0].curve.duration
    chapters: dict[int, str] = {}
    left: list[str] = []
    for rank, answer, moment in _ranked(answers):
        start = floor(moment.start_seconds)
        start = 0 if start < _CHAPTER_SECONDS else start
        others = [*chapters, duration] if start else list(chapters)
        title = f"{answer.label.translate(_BRACKETS)} ({rank})"
        if all(abs(start - other) >= _CHAPTER_SECONDS for other in others):
            chapters[start] = title
        else:
            left.append(f"{title} at {clock(moment.start_seconds)}")
    chapters.setdefault(0, "Start")
    if left:
        what = f"no chapter for {', '.join(left)}, because it would be shorter than"
        log.warning("%s: %s %d s", name, what, _CHAPTER_SECONDS)
    if len(chapters) < _FEWEST_CHAPTERS:
        few = f"shows no chapters where there are fewer than {_FEWEST_CHAPTERS}"
        log.warning("%s: YouTube %s, and these are %d", name, few, len(chapters))
    return "".join(f"{clock(start)} {title}\n" for start, title in sorted(chapters.items()))
