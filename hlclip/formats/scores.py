"""The scores file: cosines and annotation rows, all that `evaluate` reads, as safetensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hlclip.formats.annotations import Annotation
from hlclip.formats.safetensors_file import read_arrays, read_facts, write_arrays
from hlclip.formats.validation import refusing_damage

ZERO_SHOT = "zero-shot"

_POOLED = " (SP)"
"""Ends the name of a variant whose scores are pooled: SP is saliency pooling."""


def fine_tuned(blocks: int, temporal: str) -> str:
    """Name of a trained variant: `HL-CLIP-2`, with a temporal head `HL-CLIP-2+conv`.

    Args:
        blocks, temporal: `train.blocks` and `train.temporal` of its training.
    """
    return f"HL-CLIP-{blocks}" + ("" if temporal == "none" else f"+{temporal}")


def pooled(variant: str) -> str:
    """Name of a variant with saliency pooling: `HL-CLIP-2` becomes `HL-CLIP-2 (SP)`."""
    return variant + _POOLED


def unpooled(variant: str) -> str:
    """Name of a variant without saliency pooling; a name without SP stays as it is."""
    return variant.removesuffix(_POOLED)


def submission_name(split: str, variant: str) -> str:
    """Name of the submission file of a variant: `val-HL-CLIP-2-SP.jsonl`."""
    suffix = "" if variant == unpooled(variant) else "-SP"
    return f"{split}-{unpooled(variant)}{suffix}.jsonl"


@dataclass(frozen=True, eq=False)
class SplitScores:
    """Cosines of one split."""

    rows: list[Annotation]
    """Every row of the split, also those without video."""
    lengths: NDArray[np.int64]
    """[queries]: clips that have a score; 0 where the video is missing."""
    cosines: dict[str, NDArray[np.float32]]
    """Variant (`zero-shot`, `HL-CLIP-2`) -> [queries, most clips], 0 beyond a row's length."""

    @property
    def clips(self) -> NDArray[np.int64]:
        """[queries]: clips of the annotation."""
        return np.array([row.clips for row in self.rows])


@dataclass(frozen=True)
class Origin:
    """The model that made scores."""

    checkpoint: str
    """sha256 of the file of the checkpoint."""
    weights: str
    """Fingerprint of the model before fine-tuning."""
    clip_seconds: float


def pack(
    rows: Sequence[Annotation], scores: dict[str, dict[int | str, NDArray[np.float32]]]
) -> SplitScores:
    """Align scores by qid with all rows of a split.

    Args:
        rows: every row of the split.
        scores: variant -> qid -> float32 [clips]; no entry where the video is missing.
    """
    some = next(iter(scores.values()))
    lengths = np.array([len(some.get(row.qid, ())) for row in rows])
    cosines: dict[str, NDArray[np.float32]] = {}
    for variant, by_qid in scores.items():
        cosines[variant] = np.zeros((len(rows), lengths.max(initial=0)), np.float32)
        for line, row in zip(cosines[variant], rows, strict=True):
            clips = by_qid.get(row.qid, ())
            line[: len(clips)] = clips
    return SplitScores(list(rows), lengths, cosines)


def write_scores(
    path: Path, splits: dict[str, SplitScores], *, checkpoint: str = "", weights: str = ""
) -> None:
    """Write all splits to one file: same scores, same bytes.

    Args:
        checkpoint, weights: see `Origin`.
    """
    arrays: dict[str, NDArray[Any]] = {}
    for split, part in splits.items():
        arrays[f"{split}/lengths"] = part.lengths
        for variant, matrix in part.cosines.items():
            arrays[f"{split}/cosines/{variant}"] = matrix
    facts = {
        "clip_seconds": next(row.clip_seconds for part in splits.values() for row in part.rows),
        "checkpoint": checkpoint,
        "weights": weights,
        "splits": list(splits),
        "variants": {split: list(part.cosines) for split, part in splits.items()},
        "rows": {
            split: [row.model_dump(mode="json", exclude_none=True) for row in part.rows]
            for split, part in splits.items()
        },
    }
    # Not an npz: the bytes of a zip archive change with Python's version.
    write_arrays(path, arrays, facts)


def read_scores(path: Path) -> dict[str, SplitScores]:
    """Read what `write_scores` wrote: split -> scores.

    Raises:
        DamagedFileError: it is damaged.
    """
    with refusing_damage(path, "score"):
        facts, arrays = read_arrays(path)
        context = {"clip_seconds": facts["clip_seconds"]}
        return {
            split: SplitScores(
                [Annotation.model_validate(row, context=context) for row in facts["rows"][split]],
                arrays[f"{split}/lengths"],
                {name: arrays[f"{split}/cosines/{name}"] for name in facts["variants"][split]},
            )
            for split in facts["splits"]
        }


def read_origin(path: Path) -> Origin:
    """The model that made the scores in a file of `write_scores`.

    Raises:
        DamagedFileError: it is damaged.
    """
    with refusing_damage(path, "score"):
        facts = read_facts(path)
        return Origin(**{name: facts[name] for name in ("checkpoint", "weights", "clip_seconds")})
