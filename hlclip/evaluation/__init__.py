"""Saliency pooling and the official metrics, with NumPy alone.

pooling             saliency pooling (SP)
benchmarks          what is measured on each data set
ensembling          the mean of several systems' saliency
metrics             the official highlight metrics of QVHighlights; ground truth
domain_metrics      the highlight metrics of TVSum and YouTube Highlights
splits              figures of a whole split; the best rule for moments on val
reference_rows      what random scores and the annotators reach
reports             figures of a submission file
moment_retrieval    the official moment retrieval metrics
moments             ranked windows of a query from its saliency
moment_rules        the rules that find them
consensus           the default rule
calibration         maps from scores to ratings (SciPy fits them)
"""

from hlclip.evaluation.benchmarks import BENCHMARKS, Benchmark, benchmark_of, has_truth
from hlclip.evaluation.calibration import (
    Knots,
    apply_map,
    calibration_error,
    fit_map,
    reliability,
)
from hlclip.evaluation.domain_metrics import ALL
from hlclip.evaluation.ensembling import ensemble
from hlclip.evaluation.metrics import (
    GROUPS,
    GroundTruth,
    evaluate,
    ground_truth,
    highlight_metrics,
    pad,
    query_precision,
)
from hlclip.evaluation.moment_retrieval import query_moments
from hlclip.evaluation.moment_rules import RULES, Rule
from hlclip.evaluation.moments import FOCUS, Window, find_clips, find_moments
from hlclip.evaluation.pooling import WINDOW, Border, Mode, pool, pool_padded, pooling_text
from hlclip.evaluation.reference_rows import SEEDS, references
from hlclip.evaluation.reports import report
from hlclip.evaluation.splits import (
    MOMENT_METRICS,
    SETTINGS,
    Groups,
    Setting,
    best_setting,
    compare_settings,
    complete,
    find_all_moments,
    headline,
    measure,
    moment_groups,
)
