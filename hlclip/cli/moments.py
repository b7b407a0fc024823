"""`hlclip moments`: windows for any system's submission file, from its saliency."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Argument, Option, echo

from hlclip.cli.terminal import SubmissionOut, refuse_input
from hlclip.system import HlclipError


def moments(
    predictions: Annotated[
        Path,
        Argument(
            metavar="PREDICTIONS", help="Submission file (JSONL) that has pred_saliency_scores."
        ),
    ],
    out: SubmissionOut,
    rule: Annotated[
        Literal["consensus", "histogram", "thresholds", "threshold", "contrast", "peaks"] | None,
        Option(help="How scores become windows. Default: consensus."),
    ] = None,
    focus: Annotated[
        float | None,
        Option(
            min=0, max=100, metavar="N", help="Of consensus: more, shorter windows. Default: 2."
        ),
    ] = None,
    val_predictions: Annotated[
        Path | None,
        Option(metavar="FILE", help="The system's predictions of val: the rule is chosen on them."),
    ] = None,
    val_annotations: Annotated[
        Path | None, Option(metavar="FILE", help="Ground truth of --val-predictions (JSONL).")
    ] = None,
    clip_seconds: Annotated[
        float | None, Option(metavar="SECONDS", help="Length of a clip. Default: 2.")
    ] = None,
) -> None:
    """Moments for any system's submission file, from its saliency scores alone.

    Writes PREDICTIONS with pred_relevant_windows: at most ten windows of a query, best first. They
    replace windows that PREDICTIONS has; all other keys stay.

    With --val-predictions and --val-annotations the rule is the one with the highest MR-mAP on val.
    Never choose it on the split that you report.

    \b
    Examples:
      hlclip moments predictions.jsonl -o with_moments.jsonl
      hlclip moments predictions.jsonl --rule histogram -o with_moments.jsonl
      hlclip moments test.jsonl --val-predictions val.jsonl \\
        --val-annotations highlight_val_release.jsonl -o test_with_moments.jsonl
      hlclip evaluate test_with_moments.jsonl highlight_test_with_gt.jsonl
    """
    from hlclip.evaluation import (
        FOCUS,
        Setting,
        best_setting,
        compare_settings,
        find_moments,
        ground_truth,
    )
    from hlclip.formats import (
        CLIP_SECONDS,
        copy_with_windows,
        read_annotations,
        read_answers,
        read_submission,
        saliency_of,
    )

    seconds = CLIP_SECONDS if clip_seconds is None else clip_seconds
    refuse_input("--out", out, (predictions, val_predictions, val_annotations))
    if focus is not None and rule not in (None, "consensus"):
        raise HlclipError(f"--focus {focus:g}: is of consensus, --rule {rule} has none")
    if (val_predictions is None) != (val_annotations is None):
        raise HlclipError("--val-predictions and --val-annotations need each other", "give both")
    rows = read_submission(predictions)
    scores = saliency_of(rows, predictions)
    if val_predictions is None or val_annotations is None:
        setting = Setting(rule or "consensus", FOCUS if focus is None else focus)
    elif rule is not None or focus is not None:
        raise HlclipError(
            "--rule and --focus name what --val-predictions would choose", "leave them out"
        )
    else:
        queries = read_annotations(val_annotations, seconds)
        answers = saliency_of(read_answers(val_predictions, queries), val_predictions)
        compared = compare_settings(queries, ground_truth(queries), answers)
        setting = best_setting(compared)
        width = max(len(str(each)) for each in compared)
        for each, figures in compared.items():
            chosen = "  chosen" if each == setting else ""
            echo(f"{each!s:{width}}  MR-mAP on val {figures['mAP']:6.2f}{chosen}")
    windows = [
        find_moments(line, rule=setting.rule, focus=setting.focus, clip_seconds=seconds)
        for line in scores
    ]
    copy_with_windows(predictions, out, windows)
    echo(f"wrote {out}: windows of {len(rows)} queries, rule {setting}")
