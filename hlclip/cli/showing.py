"""What `hlclip highlight` makes of moments: lines of text, charts, contact sheets and exports."""

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from typer import echo

import hlclip
from hlclip.cli.scoring import recorded

if TYPE_CHECKING:
    from hlclip.highlights import Answer, FileStems, Moment


def print_moments(answer: "Answer") -> None:
    """Print the moments of an answer, best first; the best clip where nothing was found."""
    echo(f"{answer.curve.video}: {answer.title}")
    for rank, moment in enumerate(answer.moments, start=1):
        times, score, worth = _cells(moment)
        echo(f"{rank:4}  {times:21}{score:>8}   {worth}".rstrip())
    if not answer.moments:
        best = answer.left_out[0]
        exact = "" if best.rating is None else f"   rated {best.rating:.2f}"  # 0.96 is no 1.0
        span, score, _ = _cells(best)
        echo(f"      nothing found; the best is {span}   {score}{exact}")


def draw(answer: "Answer", stem: Path, *, window: int, plot: bool, sheet: bool) -> Iterator[Path]:
    """Draw an answer's chart and contact sheet; yield each file that is written.

    Args:
        stem: path of the files without the ends of their names.
    """
    if plot:
        file = stem.with_name(f"{stem.name}.png")
        hlclip.plot_curve(answer.curve, answer.moments, file, window=window)
        yield file
    if sheet and answer.moments:
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
    return (
        span(moment.start_seconds, moment.end_seconds),
        f"{moment.score:.4f}",
        moment.worth_in_full,
    )


def span(start_seconds: float, end_seconds: float) -> str:
    """`0:38 - 0:52`."""
    from hlclip.highlights import clock

    return f"{clock(start_seconds)} - {clock(end_seconds)}"
