"""From scores to figures, with NumPy alone.

pooling             saliency pooling (SP)
metrics             the official highlight metrics
moment_retrieval    the official moment retrieval metrics
examples            single queries: their average precision, and rows for a plot
"""

from hlclip.evaluation.examples import peaks, query_precision, write_examples
from hlclip.evaluation.metrics import (
    GROUPS,
    GroundTruth,
    evaluate,
    ground_truth,
    highlight_metrics,
    pad,
)
from hlclip.evaluation.pooling import pool, pool_padded
