"""`hlclip highlight`: the best moments of one's own videos."""

import json as json_format
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import hlclip
from hlclip.cli.terminal import MODEL_OPTIONS, plain_errors
from hlclip.evaluation import pool
from hlclip.highlights import (
    WINDOW,
    Answer,
    as_json,
    best_moments,
    check_film,
    clock,
    name_videos,
    write_csv,
    write_jsonl,
)
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from hlclip import Curve, Scorer


def highlight(
    context: typer.Context,
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A video, or a folder of videos.")],
    queries: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[QUERY]...",
            help="What to look for, in quotes. Without: read from standard input, one a line.",
        ),
    ] = None,
    more: Annotated[
        list[Path] | None,
        typer.Option("--video", "-v", metavar="VIDEO", help="A further video or folder; repeat."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Tuned weights. Default: outputs/train.safetensors, unless --model is given.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="open_clip model or local-dir:FOLDER; without --checkpoint it is zero-shot.",
        ),
    ] = None,
    pretrained: Annotated[
        str | None, typer.Option(metavar="TAG", help="Its weights: open_clip's tag, or a file.")
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda or cuda:N.")
    ] = "auto",
    top: Annotated[int, typer.Option(min=1, metavar="N", help="Moments a query, at most.")] = 5,
    min_seconds: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Shortest moment.")
    ] = 4.0,
    window: Annotated[
        int,
        typer.Option(min=1, metavar="CLIPS", help="Clips averaged around each; odd, 1 for none."),
    ] = WINDOW,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where files go; same names are replaced.")
    ] = Path("highlights"),
    plot: Annotated[
        bool, typer.Option("--plot", help="Chart of each query's saliency, frames underneath.")
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet", help="Contact sheet of each query's best moments.")
    ] = False,
    cut: Annotated[
        Path | None,
        typer.Option(
            metavar="OUT.mp4",
            help="Film of the moments with their sound. Copies the streams, so that each moment "
            "begins at the key frame before it (up to some seconds early); see --exact.",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="With --cut: encode anew, exact to the frame.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="With --cut: replace OUT.mp4 if it is there.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Find the best moments of your own videos.

    A video is scored in clips of two seconds: the cosine of the clip's middle frame with the query,
    averaged over neighbouring clips. Scores rank moments of one query; they mean nothing by
    themselves and may be negative.

    \b
    Examples:
      hlclip highlight holiday.mp4 "a dog on the beach"
      hlclip highlight holiday.mp4 "a dog on the beach" "people dancing" --plot --sheet
      hlclip highlight match.mkv "a goal" --top 10 --min-seconds 8 --cut goals.mp4
      hlclip highlight videos/ "a sunset"                      every video of a folder
      hlclip highlight a.mp4 --video b.mov "a sunset" "rain"   several files
      hlclip highlight holiday.mp4                             then type queries, one a line
      hlclip highlight holiday.mp4 "a dog" --model ViT-B-32-quickgelu --pretrained openai

    Writes FOLDER/scores.jsonl (QVHighlights submission format), FOLDER/scores.csv (a line a clip),
    and with --plot and --sheet PNG files named after video and query. A video is encoded once:
    later queries read what was kept in .hlclip/store, or $HLCLIP_STORE.

    Exit status: 0, or 1 if some of several videos could not be used, or 2 if nothing could be done.
    """
    with plain_errors(context, options=MODEL_OPTIONS):
        pool([0.0], window)  # refuses an even window before the model is loaded
        _check_queries(queries or [])
        videos = name_videos([video, *(more or [])])
        _check_cut(list(videos), cut, exact=exact, force=force)
        if out.exists() and not out.is_dir():
            raise HlclipError(f"--out {out}: is a file, expected a folder")
        # Before open_clip sets up another; warnings are lines on stderr.
        logging.basicConfig(format="%(message)s")
        scorer = hlclip.load_scorer(checkpoint, model=model, pretrained=pretrained, device=device)
        failed: dict[str, str] = {}
        answers: list[Answer] = []
        for vid, curve in _curves(scorer, videos, queries, failed):
            moments = best_moments(curve, top=top, window=window, min_seconds=min_seconds)
            answers.append(Answer(len(answers) + 1, vid, curve, moments))
            if not json:
                _print_moments(answers[-1])
        if not answers and not failed:
            raise HlclipError("got no query; give some, or type them, one a line")
        files = _write_scores(answers, out, window=window)
        for answer in answers:
            with _counted(failed, answer.curve.video):
                files += _draw(answer, out, files, window=window, plot=plot, sheet=sheet)
        if cut is not None and answers:
            files.append(_cut(answers, cut, exact=exact, overwrite=force, quiet=json))
        if json:
            typer.echo(json_format.dumps(as_json(answers, failed, files), ensure_ascii=False))
        elif files:
            typer.echo("wrote " + ", ".join(map(str, files)))
        if failed:
            typer.echo(f"{len(failed)} of {len(videos)} videos could not be used", err=True)
        if failed or not answers:
            raise typer.Exit(1 if answers else 2)


def _check_cut(videos: Sequence[Path], cut: Path | None, *, exact: bool, force: bool) -> None:
    if cut is None:
        if exact or force:
            raise HlclipError("--exact and --force speak of the film: give --cut OUT.mp4 too")
        return
    if len(videos) > 1:
        raise HlclipError(f"--cut {cut}: makes a film of one video, got {len(videos)}")
    check_film(videos[0], cut, overwrite=force)


def _check_queries(queries: Sequence[str]) -> None:
    for query in queries:
        if not query.strip():
            raise HlclipError("got a blank query, expected some text")
        if os.path.isfile(query):  # pathlib's fails on a text longer than file names are
            raise HlclipError(
                f"{query}: is a file where a query is expected; name further videos as "
                f"--video {query}"
            )


def _curves(
    scorer: "Scorer",
    videos: Mapping[Path, str],
    queries: Sequence[str] | None,
    failed: dict[str, str],
) -> Iterator[tuple[str, "Curve"]]:
    """(vid, curve) of each video and query; queries that are typed come after the encoding."""
    if queries:
        for path, vid in videos.items():
            with _counted(failed, path):
                for curve in scorer.score(path, queries):
                    yield vid, curve
        return
    for path in videos:
        with _counted(failed, path):
            scorer.score(path, [])
    usable = {path: vid for path, vid in videos.items() if str(path) not in failed}
    for query in _typed() if usable else ():
        for path, vid in usable.items():
            yield vid, scorer.score(path, [query])[0]


def _typed() -> Iterator[str]:
    """Queries from standard input; a person at a terminal is asked for each."""
    person = sys.stdin.isatty()
    if person:
        typer.echo("A query a line; an empty one ends.", err=True)
    for line in sys.stdin:
        if line.strip():
            yield line.strip()
        elif person:
            return


@contextmanager
def _counted(failed: dict[str, str], path: Path) -> Iterator[None]:
    """A video that cannot be used is named and noted; the others go on."""
    try:
        yield
    except hlclip.VideoError as error:
        failed[str(path)] = str(error)
        typer.echo(str(error), err=True)


def _print_moments(answer: Answer) -> None:
    typer.echo(f"{answer.curve.video}: {answer.curve.query}")
    for rank, moment in enumerate(answer.moments, start=1):
        span = f"{clock(moment.start_seconds)} - {clock(moment.end_seconds)}"
        typer.echo(f"{rank:4}  {span:21}{moment.score:8.4f}")


def _write_scores(answers: Sequence[Answer], out: Path, *, window: int) -> list[Path]:
    if not answers:
        return []
    files = [out / "scores.jsonl", out / "scores.csv"]
    write_jsonl(files[0], answers, window=window)
    write_csv(files[1], answers, window=window)
    return files


def _draw(
    answer: Answer, out: Path, used: Sequence[Path], *, window: int, plot: bool, sheet: bool
) -> list[Path]:
    words = re.sub(r"\W+", "-", answer.curve.query.lower()).strip("-")
    # File systems hold names of 255 bytes.
    stem = f"{answer.vid}-{words}".encode()[:200].decode(errors="ignore")
    while {out / f"{stem}.png", out / f"{stem}-sheet.png"} & set(used):
        stem += f"-{answer.qid}"
    files: list[Path] = []
    if plot:
        files.append(out / f"{stem}.png")
        hlclip.plot_curve(answer.curve, answer.moments, files[-1], window=window)
    if sheet:
        files.append(out / f"{stem}-sheet.png")
        hlclip.contact_sheet(answer.curve, answer.moments, files[-1])
    return files


def _cut(
    answers: Sequence[Answer], out: Path, *, exact: bool, overwrite: bool, quiet: bool
) -> Path:
    moments = [moment for answer in answers for moment in answer.moments]
    ranges = hlclip.cut_moments(
        answers[0].curve.video, moments, out, exact=exact, overwrite=overwrite
    )
    if not quiet:
        typer.echo(f"{out}: " + ", ".join(f"{clock(s)} - {clock(e)}" for s, e in ranges))
    return out
