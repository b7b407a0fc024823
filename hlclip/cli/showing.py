"""What `hlclip highlight` makes of moments: lines of text, charts, contact sheets and the film."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip

if TYPE_CHECKING:
    from hlclip.highlights import Answer, Moment


def print_moments(answer: "Answer") -> None:
    """Print the moments of an answer, best first; the best clip where nothing was found."""
    echo(f"{answer.curve.video}: {answer.title}")
    for rank, moment in enumerate(answer.moments, start=1):
        echo(f"{rank:4}  {_line(moment)}")
    if not answer.moments:
        best = answer.left_out[0]
        exact = "" if best.rating is None else f"   rated {best.rating:.2f}"  # 0.96 is no 1.0
        span, score, _ = _cells(best)
        echo(f"      nothing found; the best is {span}   {score}{exact}")


def _line(moment: "Moment") -> str:
    span, score, worth = _cells(moment)
    return f"{span:21}{score:>8}   {worth}".rstrip()


def draw(
    answer: "Answer", out: Path, files: list[Path], *, window: int, plot: bool, sheet: bool
) -> None:
    """Draw an answer's chart and contact sheet; their names, none used twice, go to `files`."""
    words = re.sub(r"\W+", "-", (answer.name or answer.curve.query).lower()).strip("-")
    # File systems allow names of 255 bytes; the locale may know ASCII only.
    stem = os.fsdecode(f"{answer.vid}-{words}".encode()[:200].decode(errors="ignore").encode())
    while {out / f"{stem}.png", out / f"{stem}-sheet.png"} & set(files):
        stem += f"-{answer.qid}"
    if plot:
        hlclip.plot_curve(answer.curve, answer.moments, out / f"{stem}.png", window=window)
        files.append(out / f"{stem}.png")
    if sheet and answer.moments:
        hlclip.contact_sheet(answer.curve, answer.moments, out / f"{stem}-sheet.png")
        files.append(out / f"{stem}-sheet.png")


def cut_film(
    answers: "list[Answer]", cut: Path, *, exact: bool, force: bool, quiet: bool
) -> list[tuple[float, float]]:
    """Make the film of all moments of one video; print and return the ranges that it shows.

    There is no film, and no range, where nothing was found.
    """
    moments = [moment for answer in answers for moment in answer.moments]
    if not moments:
        echo(f"{cut}: no film, nothing was found", err=True)
        return []
    moments = _above_zero(moments, cut)
    ranges = hlclip.cut_moments(answers[0].curve.video, moments, cut, exact=exact, overwrite=force)
    if not quiet:
        echo(f"{cut}: " + ", ".join(_span(*seconds) for seconds in ranges))
    return ranges


def summarize(
    answers: "list[Answer]",
    out: Path,
    failed: dict[str, str],
    *,
    model: Mapping[str, str | None],
    top: int,
    quiet: bool,
) -> list[Path]:
    """Write the best moments of all videos as CSV and as a page, and print the `top` of each query.

    Args:
        failed: gets the videos that give no pictures for the page.
        model: see `Scorer.model`.
    """
    from tabulate import tabulate

    from hlclip.highlights.summary import rank_moments, write_summary_csv, write_summary_page

    paths = [out / "summary.csv", out / "summary.html"]
    ranked = rank_moments(answers)
    write_summary_csv(paths[0], ranked)
    write_summary_page(paths[1], answers, ranked, failed, model=model)
    for title, found in ranked.items() if not quiet else ():
        rows = [
            (each.place, str(each.answer.curve.video), *_cells(each.moment)) for each in found[:top]
        ]
        lines = tabulate(rows, tablefmt="plain", disable_numparse=True).splitlines()
        more = f" ({top} of {len(found)})" if len(found) > top else ""
        echo("\n".join([f"all videos: {title}{more}", *(lines or ["nothing found"])]))
    return paths


def _cells(moment: "Moment") -> tuple[str, str, str]:
    return _span(moment.start_seconds, moment.end_seconds), f"{moment.score:.4f}", moment.worth


def _above_zero(moments: "list[Moment]", cut: Path) -> "list[Moment]":
    """The moments for a film, and a line on stderr where some or all of them score below 0."""
    below = [moment for moment in moments if moment.doubtful]
    if len(below) == len(moments):
        echo(f"{cut}: every moment scores below 0; the film shows them nevertheless", err=True)
        return moments
    if below:
        spans = ", ".join(_span(moment.start_seconds, moment.end_seconds) for moment in below)
        echo(f"{cut}: left out, because they score below 0: {spans}", err=True)
    return [moment for moment in moments if not moment.doubtful]


def _span(start_seconds: float, end_seconds: float) -> str:
    from hlclip.highlights import clock

    return f"{clock(start_seconds)} - {clock(end_seconds)}"
