"""`hlclip evaluate`: the field's metrics of any system's submission file."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from hlclip.cli.terminal import print_json, refuse_input
from hlclip.system import write_json


def evaluate(
    predictions: Annotated[Path, Argument(metavar="PREDICTIONS", help="Submission file (JSONL).")],
    annotations: Annotated[
        Path, Argument(metavar="ANNOTATIONS", help="Ground truth of the same queries (JSONL).")
    ],
    json: Annotated[
        Path | None,
        Option(
            metavar="OUT",
            help="Also write all figures here, as the official script does; - prints them instead.",
        ),
    ] = None,
    clip_seconds: Annotated[
        float | None, Option(metavar="SECONDS", help="Length of a clip. Default: 2.")
    ] = None,
) -> None:
    """Official metrics of any system's submission file, on QVHighlights or another data set.

    PREDICTIONS has one row per query, with pred_saliency_scores (one per clip), or
    pred_relevant_windows ([start, end, confidence], best first), or both:

    \b
      {"qid": 2579, "query": "...", "vid": "...", "pred_saliency_scores": [0.31, ...]}

    The figures are percentages and equal those of Moment-DETR's standalone_eval. Like it, hlclip
    fills a short score list with zeros and cuts a long one. It reports how many lists were too
    short or too long. HL is highlight detection: Fair, Good and VeryGood are the lowest rating that
    counts as a highlight. MR is moment retrieval; it needs relevant_windows of every query.

    ANNOTATIONS of `hlclip data` name their data set, which decides the metrics. TVSum: mean average
    precision of the five best clips by each annotator. YouTube Highlights: mean average precision.
    Both are means over domains. Charades-STA, TACoS and ActivityNet Captions: moments alone. The
    reference rows below the figures say what random scores and the annotators reach. Clips that a
    short score list leaves out rank last.

    Both files must have the same qids. A vid or query in PREDICTIONS must be that of ANNOTATIONS;
    the official script compares qids alone.

    \b
    Examples:
      hlclip evaluate predictions.jsonl highlight_val_release.jsonl
      hlclip evaluate predictions.jsonl highlight_test_with_gt.jsonl --json official.json
      hlclip evaluate mine.jsonl my_annotations.jsonl --clip-seconds 1
    """
    from hlclip.evaluation import benchmark_of, report
    from hlclip.formats import CLIP_SECONDS, read_annotations, read_answers

    if json is not None:
        refuse_input("--json", json, (predictions, annotations))
    seconds = CLIP_SECONDS if clip_seconds is None else clip_seconds
    queries = read_annotations(annotations, seconds)
    benchmark = benchmark_of(queries)
    rows = read_answers(predictions, queries)
    windows = [row.pred_relevant_windows for row in rows if row.pred_relevant_windows]
    scores = [row.pred_saliency_scores for row in rows if row.pred_saliency_scores]
    blind = sum(not row.relevant_windows for row in queries)
    if windows and scores and blind:
        windows = []
        echo(
            f"{blind} of {len(queries)} queries have no relevant_windows in the annotations: "
            "MR is left out",
            err=True,
        )
    metrics = report(queries, scores=scores or None, windows=windows or None)
    if scores and benchmark.kind != "moments":
        excess = [len(row) - query.clips for row, query in zip(scores, queries, strict=True)]
        shorter, longer = sum(n < 0 for n in excess), sum(n > 0 for n in excess)
        if shorter or longer:
            echo(
                f"of {len(scores)} score lists {shorter} are shorter than their video has clips "
                f"({'filled with zeros' if benchmark.kind == 'levels' else 'the rest ranks last'}) "
                f"and {longer} longer (cut)"
                + (", as the official script does" if benchmark.kind == "levels" else ""),
                err=True,
            )
    if json is not None and str(json) == "-":
        print_json(metrics)
        return
    if json is not None:
        write_json(json, metrics)
    lines = metrics["brief"] | {
        f"{reference} {metric}": figure
        for reference, groups in metrics.get("references", {}).items()
        for metric, figure in groups[benchmark.group].items()
    }
    width = max(map(len, lines))
    for name, figure in lines.items():
        echo(f"{name:{width}}  {figure:6.2f}")
