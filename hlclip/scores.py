"""The scores file: all that `evaluate` needs, cosines and annotation rows, in one npz."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.files import replacing
from hlclip.qvhighlights import Annotation

ZERO_SHOT = "zero-shot"


@dataclass(frozen=True, eq=False)
class SplitScores:
    """Cosines of one split."""

    rows: list[Annotation]
    """Every row of the split, also those without video."""
    lengths: NDArray[np.int64]
    """[queries]: clips that have a score; 0 where the video is missing."""
    cosines: dict[str, NDArray[np.float32]]
    """Variant (`zero-shot`, `HL-CLIP-2`) -> [queries, most clips], 0 beyond a row's length."""


def pack(
    rows: Sequence[Annotation], scores: dict[str, dict[int | str, NDArray[np.float32]]]
) -> SplitScores:
    """Align scores by qid with all rows of a split.

    Args:
        rows: every row of the split.
        scores: variant -> qid -> float32 [clips]; no entry where the video is missing.
    """
    some = next(iter(scores.values()))
    lengths = np.array([len(some[row.qid]) if row.qid in some else 0 for row in rows])
    cosines = {}
    for variant, by_qid in scores.items():
        matrix = np.zeros((len(rows), lengths.max(initial=0)), np.float32)
        for line, row in zip(matrix, rows, strict=True):
            if row.qid in by_qid:
                line[: len(by_qid[row.qid])] = by_qid[row.qid]
        cosines[variant] = matrix
    return SplitScores(list(rows), lengths, cosines)


def write_scores(path: Path, splits: dict[str, SplitScores], *, clip_seconds: float) -> None:
    """Write all splits to one file: same scores, same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {}
    header = {
        "clip_seconds": clip_seconds,
        "rows": {
            split: [row.model_dump(mode="json", exclude_none=True) for row in part.rows]
            for split, part in splits.items()
        },
    }
    for split, part in splits.items():
        arrays[f"{split}/lengths"] = part.lengths
        for variant, matrix in part.cosines.items():
            arrays[f"{split}/cosines/{variant}"] = matrix
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)  # pyright: ignore[reportArgumentType] (its stub has allow_pickle: bool)


def read_scores(path: Path) -> tuple[dict[str, SplitScores], float]:
    """Read what `write_scores` wrote: split -> scores, and the length of a clip in seconds."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        context = {"clip_seconds": header["clip_seconds"]}
        splits = {}
        for split, rows in header["rows"].items():
            prefix = f"{split}/cosines/"
            splits[split] = SplitScores(
                [Annotation.model_validate(row, context=context) for row in rows],
                file[f"{split}/lengths"],
                {
                    name.removeprefix(prefix): file[name]
                    for name in file.files
                    if name.startswith(prefix)
                },
            )
    return splits, header["clip_seconds"]
