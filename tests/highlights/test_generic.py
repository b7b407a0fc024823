"""Highlights without a query."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.highlights import GENERIC, best_moments, load_scorer
from hlclip.highlights.generic import consistency
from tests.films import film
from tests.models import save_model, tiny_config


def unit(features: NDArray[np.floating]) -> NDArray[np.float32]:
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("clips", [1, 2, 31])
def test_it_is_the_mean_cosine_with_every_clip(clips: int) -> None:
    features = unit(np.random.default_rng(clips).normal(size=(clips, 16)))
    naive = []
    for one in features.astype(float):
        cosines = [sum(a * b for a, b in zip(one, other, strict=True)) for other in features]
        naive.append(sum(cosines) / len(cosines))
    np.testing.assert_allclose(consistency(features), naive, rtol=0, atol=2e-7)


def test_what_fills_the_video_scores_above_what_is_unlike_the_rest() -> None:
    place, other = np.eye(4)[:2]
    near = place + 0.1 * np.eye(4)[2]
    scores = consistency(unit(np.array([place, near, other, place, place])))
    assert scores.argmin() == 2
    assert scores[0] > scores[1]


def test_a_scorer_ranks_clips_without_a_query(tmp_path: Path) -> None:
    video = film(tmp_path / "v.mp4", seconds=12)
    model = save_model(tmp_path / "model", tiny_config())
    scorer = load_scorer(model=model, device="cpu", store=tmp_path / "store")
    curve = scorer.generic(video)
    assert (curve.query, curve.measure) == (GENERIC, "mean cosine with all clips")
    assert curve.saliency.shape == (6,)
    assert curve.expected() is None
    assert best_moments(curve)
    # The same cached features as those of a query, and the same numbers again.
    assert curve.saliency.tolist() == scorer.generic(str(video)).saliency.tolist()
    assert len(list((tmp_path / "store" / "images").rglob("*.h5"))) == 1
