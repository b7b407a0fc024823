"""Moments from saliency: a naive twin, what every rule promises, and figures of real systems."""

import json
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hlclip.evaluation.moment_retrieval import moment_metrics
from hlclip.evaluation.moment_rules import Rule
from hlclip.evaluation.moments import OVERLAPS, find_clips, find_moments
from hlclip.system.errors import HlclipError

RULES = st.sampled_from(list(OVERLAPS))
WHOLE = st.lists(st.integers(-8, 8), min_size=1, max_size=60)
"""Scores that a map with small whole numbers changes without rounding."""


Run = tuple[int, int]


def overlap_share(a: Run, b: Run) -> float:
    return len(set(range(*a)) & set(range(*b))) / len(set(range(*a)) | set(range(*b)))


def naive_hypotheses(scores: list[float], focus: float) -> dict[Run, float]:
    """Each run above a level -> its weight; the definition in plain loops."""
    clips = range(len(scores))

    def scaled(values: list[float]) -> list[float]:
        low, high = min(values), max(values)
        return [(v - low) / (high - low) if high > low else 1.0 for v in values]

    values, smooth = scaled(scores), []
    for i in clips:
        near = {j: math.exp(-0.5 * ((i - j) / 0.7) ** 2) for j in clips if abs(i - j) <= 3}
        smooth.append(sum(w * values[j] for j, w in near.items()) / sum(near.values()))
    height = scaled(smooth)
    weights: dict[Run, float] = {}
    for number in range(32):
        level = (number + 0.5) / 32
        above = [i for i in clips if height[i] >= level]
        below = [i for i in clips if height[i] < level]
        if not below:
            continue
        difference = sum(height[i] for i in above) / len(above)
        difference -= sum(height[i] for i in below) / len(below)
        between = len(above) * len(below) / len(clips) ** 2 * difference**2
        starts = [i for i in above if i - 1 not in above]
        runs = [(i, next(j for j in range(i, len(clips) + 1) if j not in above)) for i in starts]
        score = {(a, b): sum(height[a:b]) / math.sqrt(b - a) for a, b in runs}
        for run in runs:
            weight = level**focus * between * score[run] / max(score.values())
            weights[run] = weights.get(run, 0) + weight
    return weights or {(0, len(scores)): 1.0}


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=24),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.sampled_from([0.0, 2.0, 8.0]),
)
def test_consensus_equals_its_naive_twin(
    scores: list[float], top: int, overlap: float, focus: float
) -> None:
    """Each result has the highest gain of the runs that are left, and the list ends in time."""
    found = find_clips(scores, top=top, overlap=overlap, focus=focus)
    weights = naive_hypotheses(scores, focus)
    chosen: list[Run] = []

    def gains() -> dict[Run, float]:
        return {
            run: sum(
                weight
                * max(
                    0, overlap_share(run, h) - max((overlap_share(c, h) for c in chosen), default=0)
                )
                for h, weight in weights.items()
            )
            / sum(weights.values())
            for run in weights
            if run not in chosen and all(overlap_share(run, c) <= overlap for c in chosen)
        }

    for clips, confidence in found:
        left, run = gains(), (clips.start, clips.stop)
        assert left[run] == pytest.approx(max(left.values()), abs=1e-9)
        assert confidence == pytest.approx(left[run], abs=1e-9)
        chosen.append(run)
    assert len(found) == top or max(gains().values(), default=0) < 1e-9


@given(WHOLE, RULES, st.integers(1, 12), st.none() | st.floats(0, 1), st.floats(0.1, 130))
def test_windows_are_inside_the_video_ranked_and_apart(
    scores: list[int], rule: Rule, top: int, overlap: float | None, duration: float
) -> None:
    windows = find_moments(scores, rule=rule, top=top, overlap=overlap, duration=duration)
    assert 1 <= len(windows) <= top
    assert len({window[:2] for window in windows}) == len(windows)
    for start, end, confidence in windows:
        assert 0 <= start < end <= min(duration, 2 * len(scores))
        assert start % 2 == 0
        assert end % 2 == 0 or end == duration
        assert math.isfinite(confidence)
    ranks = [confidence for *_, confidence in windows]
    assert ranks == sorted(ranks, reverse=True)
    clips = [r for r, _ in find_clips(scores, rule=rule, top=top, overlap=overlap)]
    most = OVERLAPS[rule] if overlap is None else overlap
    for number, a in enumerate(clips):
        for b in clips[:number]:
            assert len(set(a) & set(b)) / len(set(a) | set(b)) <= most + 1e-12


@given(WHOLE, RULES, st.integers(1, 9), st.integers(-50, 50))
def test_only_differences_of_scores_count(
    scores: list[int], rule: Rule, factor: int, shift: int
) -> None:
    moved = [factor * score + shift for score in scores]
    assert find_moments(moved, rule=rule) == find_moments(scores, rule=rule)


@given(WHOLE, RULES, st.floats(0.5, 30), st.integers(1, 6))
def test_short_moments_grow_and_do_not_overlap(
    scores: list[int], rule: Rule, min_seconds: float, top: int
) -> None:
    found = find_clips(scores, rule=rule, top=top, overlap=0, min_seconds=min_seconds)
    assert 1 <= len(found) <= top
    clips = [clip for run, _ in found for clip in run]
    assert len(clips) == len(set(clips))
    assert all(2 * len(run) >= min(min_seconds, 2 * len(scores)) for run, _ in found)


@pytest.mark.parametrize("rule", OVERLAPS)
@pytest.mark.parametrize("scores", [[0.1] * 75, [-3.0] * 7, [0.0], [-0.2]])
def test_a_flat_curve_is_one_moment(rule: Rule, scores: list[float]) -> None:
    assert find_moments(scores, rule=rule) == [(0.0, 2.0 * len(scores), 1.0)]


@pytest.mark.parametrize("rule", OVERLAPS)
@pytest.mark.parametrize(
    "scores", [[1e308, -1e308, 0, 1e308], [5e-324, 0, 0, 0], [1e-320, 2e-320], [-9.0, -1, -9, -9]]
)
def test_the_range_of_the_scores_does_not_matter(rule: Rule, scores: list[float]) -> None:
    windows = find_moments(scores, rule=rule)
    assert all(math.isfinite(number) for window in windows for number in window)
    clips, _ = find_clips(scores, rule=rule)[0]
    assert max(scores) in scores[clips.start : clips.stop]


@pytest.mark.parametrize("rule", OVERLAPS)
def test_a_clear_moment_is_found_by_every_rule(rule: Rule) -> None:
    scores = [0.0] * 20 + [1.0] * 10 + [0.0] * 20
    clips, _ = find_clips(scores, rule=rule)[0]
    assert overlap_share((clips.start, clips.stop), (20, 30)) >= 0.8


@pytest.mark.parametrize("rule", OVERLAPS)
def test_clips_after_the_end_of_the_video_are_no_moment(rule: Rule) -> None:
    """The annotation is longer than the video."""
    scores = [0.0, 1.0, 0.0, 0.0, 0.0, 9.0, 9.0, 9.0]
    windows = find_moments(scores, rule=rule, duration=7.5)
    assert windows == find_moments(scores[:4], rule=rule, duration=7.5)
    assert windows[0][0] in (0.0, 2.0)


@pytest.mark.parametrize("rule", OVERLAPS)
def test_a_film_of_two_days_takes_seconds_and_bounded_memory(rule: Rule) -> None:
    scores = np.random.default_rng(0).normal(size=100_000)
    scores[50_000:50_020] += 20
    tracemalloc.start()
    windows = find_moments(scores, rule=rule)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200 * 2**20
    assert windows[0][0] < 100_040
    assert windows[0][1] > 100_000


@pytest.mark.parametrize(
    ("scores", "settings", "message"),
    [
        ([], {}, r"saliency has shape \(0,\), expected \[clips\]"),
        ([[1.0]], {}, "saliency has shape"),
        ([0, math.nan, 1], {}, "saliency of clip 1 is nan, expected a finite number"),
        ([0, 1, -math.inf], {}, "saliency of clip 2 is -inf"),
        ([0, 1], {"top": 0}, "top is 0"),
        ([0, 1], {"duration": 0}, "duration is 0"),
        ([0, 1], {"clip_seconds": 0}, "clip_seconds is 0, expected a positive number"),
        ([1, 1], {"clip_seconds": float("nan")}, "clip_seconds is nan"),
        ([0, 1], {"clip_seconds": float("inf")}, "clip_seconds is inf"),
        ([0, 1], {"rule": "best"}, "rule is 'best', expected consensus, histogram"),
    ],
)
def test_bad_input_is_refused(scores: list, settings: dict, message: str) -> None:
    with pytest.raises(HlclipError, match=message):
        find_moments(scores, **settings)


FIGURES: dict[tuple[str, str], dict[Rule, tuple[float, float, float]]] = {
    ("moment_detr_val.jsonl", "highlight_val_release.jsonl"): {
        "consensus": (52.19, 37.61, 36.35),
        "histogram": (46.06, 28.52, 22.63),
        "thresholds": (46.97, 31.10, 31.62),
        "threshold": (53.10, 37.55, 30.10),
        "contrast": (26.52, 18.06, 19.75),
    },
    ("cg_detr_test.jsonl", "highlight_test_with_gt.jsonl"): {
        "consensus": (58.82, 40.47, 43.44),
        "histogram": (62.00, 43.39, 36.32),
        "thresholds": (48.96, 31.45, 34.50),
        "threshold": (58.56, 39.56, 33.64),
        "contrast": (52.59, 37.35, 37.68),
    },
}
"""Submission, ground truth -> rule -> R1@0.5, R1@0.7, mAP as docs/log.md gives them."""


@pytest.mark.parametrize("files", FIGURES, ids=lambda files: files[0])
def test_figures_of_public_submissions(qvhighlights_dir: Path, files: tuple[str, str]) -> None:
    lines = (qvhighlights_dir / files[1]).read_text().splitlines()
    annotations = {row["qid"]: row for row in map(json.loads, lines)}
    lines = (qvhighlights_dir / "predictions" / files[0]).read_text().splitlines()
    rows = [(row, annotations[row["qid"]]) for row in map(json.loads, lines)]
    truth = [np.array(annotation["relevant_windows"], float) for _, annotation in rows]
    for rule, expected in FIGURES[files].items():
        windows = [
            find_moments(row["pred_saliency_scores"], rule=rule, duration=annotation["duration"])
            for row, annotation in rows
        ]
        full = moment_metrics(truth, windows)["full"]
        recall = full["MR-R1"]
        assert (recall["0.5"], recall["0.7"], full["MR-mAP"]["average"]) == expected, rule
