"""`hlclip highlight`: find the best moments of your own videos."""

import logging
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Exit, echo

import hlclip
from hlclip.cli import highlight_options as options
from hlclip.cli.films import Cutting, check_films, cut_films
from hlclip.cli.queries import given_queries, typed_queries
from hlclip.cli.scoring import at_cuts, curves, recorded
from hlclip.cli.showing import draw, export, print_moments, summarize
from hlclip.cli.terminal import (
    Calibration,
    Checkpoint,
    Device,
    Dtype,
    Json,
    Model,
    Pretrained,
    StoreFolder,
    print_json,
)
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from hlclip.formats import ScoreMap
    from hlclip.highlights import Answer


def highlight(
    video: options.Video,
    queries: options.Queries = None,
    query_file: options.QueryFile = None,
    generic: options.Generic = False,
    more: options.More = None,
    checkpoint: Checkpoint = None,
    model: Model = None,
    pretrained: Pretrained = None,
    device: Device = "auto",
    dtype: Dtype = None,
    calibration: Calibration = None,
    store: StoreFolder = None,
    top: options.Top = 5,
    min_seconds: options.MinSeconds = 4.0,
    window: options.Window = None,
    rule: options.RuleName = "consensus",
    min_rating: options.MinRating = None,
    min_score: options.MinScore = None,
    out: options.Out = Path("highlights"),
    plot: options.Plot = False,
    sheet: options.Sheet = False,
    formats: options.Export = None,
    scenes: options.Scenes = False,
    summary: options.Summary = False,
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
    are expected to give is next to the score: 3.1 of 4. Then a query of which nothing is expected
    to be rated 1 finds nothing (--min-rating).

    With --generic a clip scores the mean cosine with all clips of its video, so what fills the
    video is found. The rule is fixed; it was not trained on highlights.

    \b
    Examples:
      hlclip highlight holiday.mp4 "a dog on the beach"
      hlclip highlight holiday.mp4 "a dog on the beach" "people dancing" --plot --sheet
      hlclip highlight match.mkv "a goal" --top 10 --min-seconds 8 --cut goals.mp4
      hlclip highlight match.mkv "a goal" --cut goals.mp4 --vertical --max-seconds 60
      hlclip highlight match.mkv "a goal" --export otio --export chapters
      hlclip highlight videos/ "a sunset"                      every video of a folder
      hlclip highlight videos/ --queries q.csv --summary       and the best of them all
      hlclip highlight a.mp4 --video b.mov "a sunset" "rain"   several files
      hlclip highlight holiday.mp4                             reads queries from standard input
      hlclip highlight holiday.mp4 --generic                   no query
      hlclip highlight holiday.mp4 "a dog" --model ViT-B-32-quickgelu --pretrained openai

    Writes FOLDER/scores.jsonl (QVHighlights submission format), FOLDER/scores.csv (one line per
    clip), with --plot, --sheet and --export files named after video and query, and with --summary
    FOLDER/summary.csv and summary.html. A video is encoded once: later queries read its features
    from the store.

    Exit status: 0 done; 1 some of several videos could not be used, or no film was made; 2 nothing
    was done.
    """
    from hlclip.evaluation import pool
    from hlclip.highlights import (
        MIN_RATING,
        WINDOW,
        Answer,
        FileStems,
        ScoreFiles,
        as_json,
        model_in_words,
        name_videos,
    )

    window = WINDOW if window is None else window
    pool([0.0], window)  # refuses an even window before the model is loaded
    queries, names = given_queries(queries or [], query_file)
    videos = name_videos([video, *(more or [])])
    _check(queries, out, formats or [], generic=generic, scenes=scenes)
    cutting = Cutting(exact, vertical, force, max_seconds, min_seconds, window, quiet=json)
    check_films(list(videos), cut, cut_each, cutting)
    # Before open_clip adds its own handler: warnings are lines on stderr.
    logging.basicConfig(format="%(message)s")
    scorer = hlclip.load_scorer(
        checkpoint,
        model=model,
        pretrained=pretrained,
        device=device,
        dtype=dtype,
        store=store,
        calibration=calibration,
    )
    echo(f"model: {model_in_words(scorer.model)}", err=True)
    _check_limits(min_score, min_rating, window, known={} if generic else scorer.maps)
    finding = {"top": top, "window": window, "min_seconds": min_seconds, "rule": rule}
    limits = min_score, MIN_RATING if min_rating is None else min_rating
    failed: dict[str, str] = {}
    results = ScoreFiles(out, window=window)
    answers, files, stems = results.answers, list[Path](), FileStems()
    batches = [queries] if queries or generic else typed_queries(failed)
    try:
        for vid, curve in curves(scorer, videos, batches, failed, window=window, generic=generic):
            found = hlclip.best_moments(curve, **finding, min_rating=0)
            found = at_cuts(curve, found, failed, min_seconds) if scenes else found
            kept = sum(moment.reaches(*limits) for moment in found)  # the best ones
            name = names.get(curve.query, "")
            answer = Answer(len(answers) + 1, vid, curve, found[:kept], name, found[kept:])
            results.add(answer)
            if not json:
                print_moments(answer)
            with recorded(failed, curve.video):
                files += draw(
                    answer, out / stems.query(answer), window=window, plot=plot, sheet=sheet
                )
    finally:
        results.write()
    if answers:
        files = [*results.paths, *files]
    elif not failed:
        raise HlclipError("got no query", "give queries as arguments, or type them, one per line")
    if summary and answers:
        files += summarize(answers, out, failed, model=scorer.model, top=top, quiet=json)
    files += export(answers, out, formats or [], stems, failed)  # first: a film may fail
    films = cut_films(answers, cut, cut_each, stems, failed, cutting)
    files += films
    if json:
        settings = {**finding, "min_score": limits[0], "min_rating": limits[1], "scenes": scenes}
        facts = {
            "model": scorer.model,
            "generic": generic,
            "settings": settings,
            "film": films.get(cut or Path(), []),
            "films": {str(film): ranges for film, ranges in films.items()},
        }
        print_json(as_json(answers, failed, files, window=window, facts=facts))
    elif files:
        echo("wrote " + ", ".join(map(str, files)))
    _end(answers, failed, videos, whole=bool(films) or not (cut or cut_each))


def _end(
    answers: "list[Answer]", failed: dict[str, str], videos: Iterable[Path], *, whole: bool
) -> None:
    """Say how many videos could not be used, and exit with the status if not all was done."""
    used = [str(path) not in failed for path in videos]
    if not all(used):
        echo(f"{used.count(False)} of {len(used)} videos could not be used", err=True)
    if failed or not whole:
        raise Exit(1 if answers else 2)


def _check(
    queries: Sequence[str], out: Path, formats: Sequence[str], *, generic: bool, scenes: bool
) -> None:
    """Refuse arguments that cannot be right, and missing extras, before the model is loaded."""
    if generic and queries:
        raise HlclipError("--generic finds highlights without a query, got queries", "drop either")
    for query in queries:
        # pathlib raises on a text longer than file names may be; a folder may be named as a query
        if os.path.isfile(query) or (os.sep in query and os.path.isdir(query)):
            kind = "file" if os.path.isfile(query) else "folder"
            raise HlclipError(
                f"{query}: is a {kind}, expected a query", f"name further videos as --video {query}"
            )
    editor = {"otio", "xml", "edl"}.intersection(formats)
    if editor and not (find_spec("opentimelineio") and find_spec("otio_fcp_adapter")):
        reason = f"--export {min(editor)} needs OpenTimelineIO"
        raise HlclipError(reason, "pip install 'hlclip[editor]'")
    if scenes and not (find_spec("scenedetect") and find_spec("cv2")):
        raise HlclipError("--scenes needs PySceneDetect", "pip install 'hlclip[scenes]'")
    if out.exists() and not out.is_dir():
        raise HlclipError(f"--out {out}: is a file, expected a folder")


def _check_limits(
    score: float | None, rating: float | None, window: int, *, known: "Mapping[int, ScoreMap]"
) -> None:
    """Refuse limits that no moment can reach; say where a window has no ratings."""
    if score is not None and not math.isfinite(score):
        raise HlclipError(f"--min-score is {score}, expected a number")
    if rating is not None and window not in known:
        raise HlclipError(
            f"--min-rating {rating:g}: no rating is known of these scores",
            "leave it out, or use --min-score",
        )
    if known and window not in known:
        rated = " and ".join(map(str, sorted(known)))
        echo(f"--window {window}: without ratings, which were measured for {rated}", err=True)
