"""`hlclip ensemble`: one submission file from the saliency of several."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from hlclip.cli.terminal import SubmissionOut, refuse_input
from hlclip.system import HlclipError


def ensemble(
    predictions: Annotated[
        list[Path],
        Argument(
            metavar="PREDICTIONS...",
            help="Two or more submission files (JSONL) that have pred_saliency_scores.",
        ),
    ],
    out: SubmissionOut,
    weights: Annotated[
        str | None,
        Option(
            metavar="W,W,...",
            help="Weight of each file, in their order; only ratios count. Default: all alike.",
        ),
    ] = None,
) -> None:
    """One submission file from several: the mean of their saliency scores.

    The files may be of several seeds, encoders or systems. Systems score in different ranges, so
    each curve is z-scored first: the score of a clip minus the mean over the clips of its query,
    divided by their standard deviation. A curve whose scores are all equal counts as 0.

    All files must answer the same queries, with the same number of scores for each. OUT has the
    order, the texts and the vids of the first file, and saliency scores alone: hlclip moments adds
    windows.

    \b
    Examples:
      hlclip ensemble seed0.jsonl seed1.jsonl seed2.jsonl -o mean.jsonl
      hlclip ensemble ours.jsonl theirs.jsonl --weights 2,1 -o both.jsonl
      hlclip evaluate both.jsonl highlight_val_release.jsonl
      hlclip moments both.jsonl -o with_moments.jsonl
    """
    from hlclip.evaluation import ensemble
    from hlclip.formats import Prediction, read_same_answers, write_submission

    if len(predictions) < 2:
        raise HlclipError(f"got {len(predictions)} submission file", "name two or more")
    for at, path in enumerate(predictions):
        if path.resolve() in [each.resolve() for each in predictions[:at]]:
            raise HlclipError(f"{path}: got it twice", "name each file once; see --weights")
    refuse_input("--out", out, predictions)
    shares = _weights(weights, len(predictions)) if weights is not None else ()
    systems = read_same_answers(predictions)
    write_submission(
        out,
        (
            Prediction(
                qid=answers[0].qid,
                query=answers[0].query,
                vid=answers[0].vid,
                pred_saliency_scores=tuple(
                    ensemble([each.pred_saliency_scores or () for each in answers], shares).tolist()
                ),
            )
            for answers in zip(*systems, strict=True)
        ),
    )
    echo(f"wrote {out}: mean saliency of {len(systems)} files, {len(systems[0])} queries")


def _weights(text: str, files: int) -> list[float]:
    try:
        weights = [float(each) for each in text.split(",")]
    except ValueError:
        weights = []
    if len(weights) != files or not all(0 < weight < float("inf") for weight in weights):
        raise HlclipError(
            f"--weights {text}: expected {files} positive numbers with commas between them, one "
            "for each file"
        )
    return weights
