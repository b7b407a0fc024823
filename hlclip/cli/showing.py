"""What `hlclip highlight` makes of moments: lines of text, charts, contact sheets and exports."""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip
from hlclip.cli.scoring import recorded

if TYPE_CHECKING:
    from hlclip.highlights import Answer, FileStems


def print_moments(answer: "Answer") -> None:
    """Print the moments of an answer, best first."""
    echo(f"{answer.curve.video}: {answer.curve.query}")
    for rank, moment in enumerate(answer.moments, start=1):
        times = span(moment.start_seconds, moment.end_seconds)
        echo(f"{rank:4}  {times:21}{moment.score:8.4f}   {moment.worth}".rstrip())


def draw(answer: "Answer", stem: Path, *, window: int, plot: bool, sheet: bool) -> Iterator[Path]:
    """Draw an answer's chart and contact sheet; yield each file that is written.

    Args:
        stem: path of the files without the ends of their names.
    """
    if plot:
        file = stem.with_name(f"{stem.name}.png")
        hlclip.plot_curve(answer.curve, answer.moments, file, window=window)
        yield file
    if sheet:
        file = stem.with_name(f"{stem.name}-sheet.png")
        hlclip.contact_sheet(answer.curve, answer.moments, file, window=window)
        yield file


def export(
    answers: "list[Answer]",
    out: Path,
    formats: Collection[str],
    stems: "FileStems",
    failed: dict[str, str],
) -> list[Path]:
    """Write the moments in each format, for each video; return the files."""
    from hlclip.highlights import export_moments, export_table

    files: list[Path] = []
    for vid in dict.fromkeys(answer.vid for answer in answers):
        of_video = [answer for answer in answers if answer.vid == vid]
        with recorded(failed, of_video[0].curve.video):
            files += export_moments(of_video, out, formats, stems)
    if "csv" in formats and answers:
        files.append(out / "moments.csv")
        export_table(answers, files[-1])
    return files


def span(start_seconds: float, end_seconds: float) -> str:
    """`0:38 - 0:52`."""
    from hlclip.highlights import clock

    return f"{clock(start_seconds)} - {clock(end_seconds)}"
