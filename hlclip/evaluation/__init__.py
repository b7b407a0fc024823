"""Saliency pooling and the official metrics, with NumPy alone.

pooling             saliency pooling (SP)
metrics             the official highlight metrics
splits              figures of a whole split, from scores that may be incomplete
moment_retrieval    the official moment retrieval metrics
moments             ranked windows of a query from its saliency
moment_rules        the rules that find them
"""

from hlclip.evaluation.metrics import (
    GROUPS,
    GroundTruth,
    evaluate,
    ground_truth,
    highlight_metrics,
    pad,
    query_precision,
)
from hlclip.evaluation.moment_rules import Rule
from hlclip.evaluation.moments import find_clips, find_moments
from hlclip.evaluation.pooling import pool, pool_padded
from hlclip.evaluation.splits import complete, measure
