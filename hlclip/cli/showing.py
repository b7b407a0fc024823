"""What `hlclip highlight` makes of moments: lines of text, charts, contact sheets and the film."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip

if TYPE_CHECKING:
    from hlclip.highlights import Answer, Moment


def print_moments(answer: "Answer") -> None:
    """Print the moments of an answer, best first."""
    echo(f"{answer.curve.video}: {answer.curve.query}")
    for rank, moment in enumerate(answer.moments, start=1):
        span = _span(moment.start_seconds, moment.end_seconds)
        echo(f"{rank:4}  {span:21}{moment.score:8.4f}   {moment.worth}".rstrip())


def draw(
    answer: "Answer", out: Path, files: list[Path], *, window: int, plot: bool, sheet: bool
) -> None:
    """Draw an answer's chart and contact sheet; their names, none used twice, go to `files`."""
    words = re.sub(r"\W+", "-", answer.curve.query.lower()).strip("-")
    # File systems allow names of 255 bytes; the locale may know ASCII only.
    stem = os.fsdecode(f"{answer.vid}-{words}".encode()[:200].decode(errors="ignore").encode())
    while {out / f"{stem}.png", out / f"{stem}-sheet.png"} & set(files):
        stem += f"-{answer.qid}"
    if plot:
        hlclip.plot_curve(answer.curve, answer.moments, out / f"{stem}.png", window=window)
        files.append(out / f"{stem}.png")
    if sheet:
        hlclip.contact_sheet(answer.curve, answer.moments, out / f"{stem}-sheet.png")
        files.append(out / f"{stem}-sheet.png")


def cut_film(answers: "list[Answer]", cut: Path, *, exact: bool, force: bool, quiet: bool) -> None:
    """Make the film of all moments of one video, and print the ranges that it shows."""
    moments = _above_zero([moment for answer in answers for moment in answer.moments], cut)
    ranges = hlclip.cut_moments(answers[0].curve.video, moments, cut, exact=exact, overwrite=force)
    if not quiet:
        echo(f"{cut}: " + ", ".join(_span(*seconds) for seconds in ranges))


def _above_zero(moments: "list[Moment]", cut: Path) -> "list[Moment]":
    """The moments for a film, and a line on stderr where some or all of them score below 0."""
    below = [moment for moment in moments if moment.score < 0]
    if len(below) == len(moments):
        echo(f"{cut}: every moment scores below 0; the film shows them nevertheless", err=True)
        return moments
    if below:
        spans = ", ".join(_span(moment.start_seconds, moment.end_seconds) for moment in below)
        echo(f"{cut}: left out, because they score below 0: {spans}", err=True)
    return [moment for moment in moments if moment.score >= 0]


def _span(start_seconds: float, end_seconds: float) -> str:
    from hlclip.highlights import clock

    return f"{clock(start_seconds)} - {clock(end_seconds)}"
