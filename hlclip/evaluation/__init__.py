"""Saliency pooling and the official metrics, with NumPy alone.

pooling             saliency pooling (SP)
ensembling          the mean of several systems' saliency
metrics             the official highlight metrics
splits              figures of a whole split; the best rule for moments on val
moment_retrieval    the official moment retrieval metrics
moments             ranked windows of a query from its saliency
moment_rules        the rules that find them
calibration         maps from scores to ratings (SciPy fits them)
"""

from hlclip.evaluation.calibration import (
    Knots,
    apply_map,
    calibration_error,
    fit_map,
    reliability,
)
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
from hlclip.evaluation.pooling import (
    WINDOW,
    Border,
    Mode,
    pool,
    pool_padded,
    pooling_text,
)
from hlclip.evaluation.splits import (
    MOMENT_METRICS,
    SETTINGS,
    Setting,
    best_setting,
    compare_settings,
    complete,
    find_all_moments,
    measure,
    measure_moments,
)
