"""Official metrics and pooling windows at the size of QVHighlights val, and large manifests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.pairs import Pair
from hlclip.evaluation import ground_truth, measure, pool_padded
from hlclip.formats import Annotation, Item, Manifest, read_manifests, write_manifests
from tests.parity.test_official_metrics import official_highlights

ROWS, CLIPS = 1550, 75
WINDOWS = range(1, 41, 2)
ENTRIES = 10_000


def cases(folder: Path) -> Iterator[Pair]:
    random = np.random.default_rng(0)
    rows = [_row(number, random) for number in range(ROWS)]
    scores = random.normal(size=(ROWS, CLIPS)).astype(np.float32)
    lists = [line.tolist() for line in scores]

    def ours() -> dict[str, Any]:
        return measure(ground_truth(rows), scores)

    def naive() -> dict[str, Any]:
        levels = {"Fair": 2, "Good": 3, "VeryGood": 4}
        return {name: official_highlights(rows, lists, least) for name, least in levels.items()}

    for level, figures in naive().items():
        assert list(figures.values()) == list(ours()[level].values()), (level, figures)
    yield Pair(
        f"official highlight metrics of {ROWS:,} rows",
        "query by query, as the official script",
        ours,
        naive,
        most_seconds=0.5,
        rounds=3,
    )

    truth = ground_truth(rows)

    def windows() -> None:
        for window in WINDOWS:
            measure(truth, pool_padded(scores, truth.clips, window))

    def evaluations() -> None:
        for window in WINDOWS:
            measure(ground_truth(rows), pool_padded(scores, truth.clips, window))

    yield Pair(
        f"{len(WINDOWS)} pooling windows, {ROWS:,} rows, one ground truth",
        "as many evaluations",
        windows,
        evaluations,
        most_seconds=2.0,
        rounds=3,
    )

    items = {f"v{n:05}": Item(f"{n:040x}", f"{n:032x}", CLIPS) for n in range(ENTRIES)}
    manifest = Manifest({"clip_seconds": 2.0}, items, {})
    path = folder / "manifest.json"

    def through() -> None:
        write_manifests(path, frames=manifest)
        read_manifests(path, "frames")

    content = {"frames": manifest.as_json()}

    def bare() -> None:
        (folder / "bare.json").write_text(json.dumps(content), encoding="utf-8")
        json.loads((folder / "bare.json").read_bytes())

    yield Pair(
        f"a manifest of {ENTRIES:,} videos, written and read",
        "json alone, unsorted and not synced to disk",
        through,
        bare,
        most_seconds=1.0,
    )


def _row(number: int, random: np.random.Generator) -> Annotation:
    first = int(random.integers(0, CLIPS - 10))
    relevant = list(range(first, first + int(random.integers(1, 10))))
    return Annotation.model_validate(
        {
            "qid": number,
            "vid": f"v{number}",
            "query": "a query",
            "duration": 2 * CLIPS,
            "relevant_clip_ids": relevant,
            "saliency_scores": random.integers(0, 5, (len(relevant), 3)).tolist(),
        }
    )
