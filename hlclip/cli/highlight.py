"""`hlclip highlight`: find the best moments of your own videos."""

import logging
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from typer import Exit, echo

import hlclip
from hlclip.cli import highlight_options as options
from hlclip.cli.films import Cutting, check_films, cut_films
from hlclip.cli.queries import query_text, typed_queries
from hlclip.cli.scoring import at_cuts, curves, recorded
from hlclip.cli.showing import draw, export, print_moments
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


def highlight(
    video: options.Video,
    queries: options.Queries = None,
    more: options.More = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    pretrained: Pretrained = None,
    device: Device = "auto",
    dtype: Dtype = None,
    calibration: Calibration = None,
    top: options.Top = 5,
    min_seconds: options.MinSeconds = 4.0,
    window: options.Window = None,
    rule: options.RuleName = "consensus",
    out: options.Out = Path("highlights"),
    plot: options.Plot = False,
    sheet: options.Sheet = False,
    formats: options.Export = None,
    scenes: options.Scenes = False,
    cut: options.Cut = None,
    cut_each: options.CutEach = None,
    exact: options.Exact = False,
    vertical: options.Vertical = False,
    max_seconds: options.MaxSeconds = None,
    force: options.Force = False,
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
      hlclip highlight match.mkv "a goal" --cut goals.mp4 --vertical --max-seconds 60
      hlclip highlight match.mkv "a goal" --export otio --export chapters
      hlclip highlight videos/ "a sunset"                      every video of a folder
      hlclip highlight a.mp4 --video b.mov "a sunset" "rain"   several files
      hlclip highlight holiday.mp4                             reads queries from standard input
      hlclip highlight holiday.mp4 "a dog" --model ViT-B-32-quickgelu --pretrained openai

    Writes FOLDER/scores.jsonl (QVHighlights submission format), FOLDER/scores.csv (one line per
    clip), and with --plot, --sheet and --export files named after video and query. A video is
    encoded once: later queries read its features from .hlclip/store, or $HLCLIP_STORE.

    Exit status: 0 done; 1 some of several videos could not be used; 2 nothing was done.
    """
    from hlclip.evaluation import pool
    from hlclip.highlights import WINDOW, Answer, FileStems, ScoreFiles, as_json, name_videos

    window = WINDOW if window is None else window
    pool([0.0], window)  # refuses an even window before the model is loaded
    queries = [query_text(os.fsencode(query)) for query in queries or []]
    videos = name_videos([video, *(more or [])])
    _check(queries, formats or [], scenes=scenes)
    cutting = Cutting(exact, vertical, force, max_seconds, min_seconds, window, quiet=json)
    check_films(list(videos), cut, cut_each, cutting)
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
    if scorer.maps and window not in scorer.maps:
        rated = " and ".join(map(str, sorted(scorer.maps)))
        echo(f"--window {window}: without ratings, which were measured for {rated}", err=True)
    failed: dict[str, str] = {}
    results = ScoreFiles(out, window=window)
    answers, drawings, stems = results.answers, list[Path](), FileStems()
    batches = [queries] if queries else typed_queries(failed)
    try:
        for vid, curve in curves(scorer, videos, batches, failed, window=window):
            moments = hlclip.best_moments(
                curve, top=top, window=window, min_seconds=min_seconds, rule=rule
            )
            if scenes:
                moments = at_cuts(curve, moments, failed, min_seconds=min_seconds)
            answer = Answer(len(answers) + 1, vid, curve, moments)
            results.add(answer)
            if not json:
                print_moments(answer)
            with recorded(failed, curve.video):
                stem = out / stems.query(answer)
                drawings += draw(answer, stem, window=window, plot=plot, sheet=sheet)
    finally:
        results.write()
    if not answers and not failed:
        raise HlclipError("got no query", "give queries as arguments, or type them, one per line")
    files = [*results.paths, *drawings] if answers else []
    files += export(answers, out, formats or [], stems, failed)
    files += cut_films(answers, cut, cut_each, stems, failed, cutting)
    if json:
        print_json(as_json(answers, failed, files))
    elif files:
        echo("wrote " + ", ".join(map(str, files)))
    if failed:
        unusable = sum(str(path) in failed for path in videos)
        if unusable:
            echo(f"{unusable} of {len(videos)} videos could not be used", err=True)
        raise Exit(1 if answers else 2)


def _check(queries: Sequence[str], formats: Sequence[str], *, scenes: bool) -> None:
    """Refuse arguments that cannot be right, and missing extras, before the model is loaded."""
    for query in queries:
        if os.path.isfile(query):  # pathlib raises on a text longer than file names may be
            raise HlclipError(
                f"{query}: is a file, expected a query", f"name further videos as --video {query}"
            )
    editor = {"otio", "xml", "edl"}.intersection(formats)
    if editor and not (find_spec("opentimelineio") and find_spec("otio_fcp_adapter")):
        reason = f"--export {min(editor)} needs OpenTimelineIO"
        raise HlclipError(reason, "pip install 'hlclip[editor]'")
    if scenes and find_spec("scenedetect") is None:
        raise HlclipError("--scenes needs PySceneDetect", "pip install 'hlclip[scenes]'")
