"""Figures of a submission file, of any system on any data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from hlclip.evaluation.domain_metrics import ALL
from hlclip.evaluation.metrics import check_scores, evaluate, ground_truth, pad
from hlclip.evaluation.moments import FOCUS
from hlclip.evaluation.reference_rows import references
from hlclip.evaluation.splits import Setting, complete, measure
from hlclip.system import HlclipError

if TYPE_CHECKING:  # the metrics need numpy alone at run time
    from hlclip.formats import Annotation


def report(
    rows: Sequence[Annotation],
    *,
    scores: Sequence[ArrayLike] | None = None,
    windows: Sequence[Sequence[Sequence[float]]] | None = None,
) -> dict[str, Any]:
    """The figures of one system under the data set's own names, in percent.

    Of QVHighlights it is `evaluate`, and so it is of data sets that have moments alone. With
    domains, `brief` has the mean over domains and each domain. All but QVHighlights also have
    `references`. With domains a score list that is longer than its video is cut, and clips that a
    shorter one leaves out rank last.

    Args:
        rows: the annotations.
        scores, windows: as in `evaluate`, in the order of `rows`.

    Raises:
        HlclipError: as `evaluate`; or the predictions have nothing that the data set measures.
    """
    truth = ground_truth(rows)
    benchmark = truth.benchmark
    if benchmark.kind == "levels":
        return evaluate(truth, scores=scores, windows=windows)
    found = {"references": references(rows, truth, Setting("consensus", FOCUS))}
    if benchmark.kind == "moments":
        if windows is None:
            raise HlclipError(
                f"{benchmark.title} measures moments, and the predictions have no "
                "pred_relevant_windows",
                "`hlclip moments` finds them in pred_saliency_scores",
            )
        return evaluate(truth, windows=windows) | found
    if scores is None:
        raise HlclipError(
            f"{benchmark.title} measures highlights, and the predictions have no "
            "pred_saliency_scores",
            "give one score a clip",
        )
    matrix, lengths = pad(scores)
    check_scores(truth, matrix, lengths)
    groups = measure(truth, complete(matrix, lengths, truth.clips))
    brief = {
        metric if name == ALL else f"{name} {metric}": figure
        for name, figures in groups.items()
        for metric, figure in figures.items()
    }
    return {"brief": brief, **groups, **found}
