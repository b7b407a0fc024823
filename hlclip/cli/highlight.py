"""`hlclip highlight`: find the best moments of your own videos."""

import logging
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, Exit, Option, echo

import hlclip
from hlclip.cli.queries import query_text, typed_queries
from hlclip.cli.terminal import (
    Calibration,
    Checkpoint,
    Device,
    Dtype,
    Json,
    Model,
    Pretrained,
    print_json,
)
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from hlclip.highlights import Answer, Curve, Moment, Scorer


def highlight(
    video: Annotated[Path, Argument(metavar="VIDEO", help="A video, or a folder of videos.")],
    queries: Annotated[
        list[str] | None,
        Argument(
            metavar="[QUERY]...",
            help="What to look for, in quotes. Default: read from standard input, one per line.",
        ),
    ] = None,
    more: Annotated[
        list[Path] | None,
        Option("--video", "-v", metavar="VIDEO", help="One more video or folder; repeatable."),
    ] = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    pretrained: Pretrained = None,
    device: Device = "auto",
    dtype: Dtype = None,
    calibration: Calibration = None,
    top: Annotated[int, Option(min=1, metavar="N", help="Most moments per query.")] = 5,
    min_seconds: Annotated[
        float, Option(min=0.1, metavar="SECONDS", help="Shortest moment.")
    ] = 4.0,
    window: Annotated[
        int | None,
        Option(min=1, metavar="CLIPS", help="Pooling window; odd, 1 for no pooling. Default: 3."),
    ] = None,
    rule: Annotated[
        Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks"],
        Option(
            help="How scores become moments: consensus finds their ends best, peaks finds more "
            "and shorter ones."
        ),
    ] = "consensus",
    out: Annotated[
        Path,
        Option(
            metavar="FOLDER",
            help="Folder for the files; existing files of the same name are replaced.",
        ),
    ] = Path("highlights"),
    plot: Annotated[
        bool, Option("--plot", help="Chart of each query's saliency, frames underneath.")
    ] = False,
    sheet: Annotated[
        bool, Option("--sheet", help="Contact sheet of each query's best moments.")
    ] = False,
    cut: Annotated[
        Path | None,
        Option(
            metavar="OUT.mp4",
            help=(
                "Film of the moments with their sound. Copies the streams where that is safe, so "
                "each moment may begin a few seconds early, at a key frame; see --exact."
            ),
        ),
    ] = None,
    exact: Annotated[
        bool,
        Option(
            "--exact",
            help="With --cut: re-encode, so that moments begin and end at the exact frame.",
        ),
    ] = False,
    force: Annotated[
        bool, Option("--force", help="With --cut: replace OUT.mp4 if it exists.")
    ] = False,
    json: Json = False,
) -> None:
    """Find the best moments of your own videos.

    A video is scored in clips of two seconds: the cosine of the clip's middle frame with the query,
    averaged over neighbouring clips (--window). Scores rank moments of one query and may be
    negative. Where a run has measured what they are worth (--calibration), the rating that people
    are expected to give is next to the score: 3.1 of 4.

    \b
    Examples:
      hlclip highlight holiday.mp4 "a dog on the beach"
      hlclip highlight holiday.mp4 "a dog on the beach" "people dancing" --plot --sheet
      hlclip highlight match.mkv "a goal" --top 10 --min-seconds 8 --cut goals.mp4
      hlclip highlight videos/ "a sunset"                      every video of a folder
      hlclip highlight a.mp4 --video b.mov "a sunset" "rain"   several files
      hlclip highlight holiday.mp4                             reads queries from standard input
      hlclip highlight holiday.mp4 "a dog" --model ViT-B-32-quickgelu --pretrained openai

    Writes FOLDER/scores.jsonl (QVHighlights submission format), FOLDER/scores.csv (one line per
    clip), and with --plot and --sheet PNG files named after video and query. A video is encoded
    once: later queries read its features from .hlclip/store, or $HLCLIP_STORE.

    Exit status: 0 done; 1 some of several videos could not be used; 2 nothing was done.
    """
    from hlclip.evaluation import pool
    from hlclip.highlights import WINDOW, Answer, ScoreFiles, as_json, name_videos

    window = WINDOW if window is None else window
    pool([0.0], window)  # refuses an even window before the model is loaded
    queries = [query_text(os.fsencode(query)) for query in queries or []]
    videos = name_videos([video, *(more or [])])
    _check(queries, list(videos), cut, exact=exact, force=force)
    if out.exists() and not out.is_dir():
        raise HlclipError(f"--out {out}: is a file, expected a folder")
    # Before open_clip adds its own handler: warnings are lines on stderr.
    logging.basicConfig(format="%(message)s")
    scorer = hlclip.load_scorer(
        checkpoint,
        model=model,
        pretrained=pretrained,
        device=device,
        dtype=dtype,
        calibration=calibration,
    )
    echo(f"model: {scorer.model}", err=True)
    if scorer.maps and window not in scorer.maps:
        rated = " and ".join(map(str, sorted(scorer.maps)))
        echo(f"--window {window}: without ratings, which were measured for {rated}", err=True)
    failed: dict[str, str] = {}
    results = ScoreFiles(out, window=window)
    answers, drawings = results.answers, list[Path]()
    batches = [queries] if queries else typed_queries(failed)
    try:
        for vid, curve in _curves(scorer, videos, batches, failed, window=window):
            moments = hlclip.best_moments(
                curve, top=top, window=window, min_seconds=min_seconds, rule=rule
            )
            answer = Answer(len(answers) + 1, vid, curve, moments)
            results.add(answer)
            if not json:
                _print_moments(answer)
            with _recorded(failed, curve.video):
                _draw(answer, out, drawings, window=window, plot=plot, sheet=sheet)
    finally:
        results.write()
    if not answers and not failed:
        raise HlclipError("got no query", "give queries as arguments, or type them, one per line")
    files = [*results.paths, *drawings] if answers else []
    if cut is not None and answers:
        moments = _above_zero([m for answer in answers for m in answer.moments], cut)
        ranges = hlclip.cut_moments(
            answers[0].curve.video, moments, cut, exact=exact, overwrite=force
        )
        files.append(cut)
        if not json:
            echo(f"{cut}: " + ", ".join(_span(*seconds) for seconds in ranges))
    if json:
        print_json(as_json(answers, failed, files))
    elif files:
        echo("wrote " + ", ".join(map(str, files)))
    if failed:
        unusable = sum(str(path) in failed for path in videos)
        if unusable:
            echo(f"{unusable} of {len(videos)} videos could not be used", err=True)
        raise Exit(1 if answers else 2)


def _print_moments(answer: "Answer") -> None:
    echo(f"{answer.curve.video}: {answer.curve.query}")
    for rank, moment in enumerate(answer.moments, start=1):
        span = _span(moment.start_seconds, moment.end_seconds)
        echo(f"{rank:4}  {span:21}{moment.score:8.4f}   {moment.worth_in_full}".rstrip())


def _check(
    queries: list[str], videos: list[Path], cut: Path | None, *, exact: bool, force: bool
) -> None:
    """Refuse arguments that cannot be right before the model is loaded."""
    from hlclip.highlights import check_film

    for query in queries:
        if os.path.isfile(query):  # pathlib raises on a text longer than file names may be
            raise HlclipError(
                f"{query}: is a file, expected a query", f"name further videos as --video {query}"
            )
    if cut is not None:
        if len(videos) > 1:
            raise HlclipError(f"--cut {cut}: makes a film of one video, got {len(videos)}")
        check_film(videos[0], cut, overwrite=force)
    elif exact or force:
        raise HlclipError("--exact and --force are options of --cut", "give --cut OUT.mp4 too")


def _curves(
    scorer: "Scorer",
    videos: dict[Path, str],
    batches: Iterable[list[str]],
    failed: dict[str, str],
    *,
    window: int,
) -> Iterator[tuple[str, "Curve"]]:
    """Yield (vid, curve) of each video and query of each batch; name each video below `window`."""
    from hlclip.highlights import WINDOW

    usable, short = dict(videos), set[Path]()
    for queries in batches:
        for path, vid in list(usable.items()):
            del usable[path]
            with _recorded(failed, path):
                for curve in scorer.score(path, queries):
                    clips = len(curve.saliency)
                    if window > max(clips, WINDOW) and path not in short:
                        short.add(path)
                        echo(f"{path}: {clips} clips, fewer than --window {window}", err=True)
                    yield vid, curve
                usable[path] = vid
        if not usable:
            return


@contextmanager
def _recorded(failed: dict[str, str], path: Path) -> Iterator[None]:
    """Print, once, why a video cannot be used and record it in `failed`; the others go on."""
    try:
        yield
    except hlclip.VideoError as error:
        if failed.get(str(path)) != str(error):
            echo(str(error), err=True)
        failed[str(path)] = str(error)


def _span(start_seconds: float, end_seconds: float) -> str:
    from hlclip.highlights import clock

    return f"{clock(start_seconds)} - {clock(end_seconds)}"


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


def _draw(
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
