"""safetensors files with facts and a digest, read without torch: the checkpoint and the scores.

The facts are JSON in the metadata entry `hlclip`; any safetensors reader opens the arrays. The
format has no checksum, so that a flipped bit would go unnoticed; the facts therefore hold a digest
of everything else.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from safetensors.numpy import load, save

from hlclip.formats.validation import refusing_damage
from hlclip.system import HlclipError, write_whole

KEY = "hlclip"
"""The metadata entry. Only one: safetensors writes several in an order that changes by run."""

CHECKPOINT_REMEDY = (
    "name another checkpoint; in the repository of its run `dvc repro --force train` makes it again"
)
"""What to do about a checkpoint that cannot be used."""


class CheckpointError(HlclipError):
    """A checkpoint is damaged, not finite or another model's; the message says which field."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Write contiguous arrays and JSON facts, whole or not at all: same content, same bytes."""

    def content(facts: Mapping[str, Any]) -> bytes:
        return save(dict(arrays), {KEY: json.dumps(facts, sort_keys=True)})

    _, _, digest = _parse(content(facts))
    write_whole(path, content({**facts, "digest": digest}))


def read_arrays(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The facts, and the arrays by name; a damaged file fails as `refusing_damage` expects.

    Raises:
        CheckpointError: NaN or infinity in an array.
    """
    content = path.read_bytes()
    facts, arrays = _checked_facts(content), load(content)
    if problem := find_not_finite(arrays):
        raise CheckpointError(
            f"{path}: {problem}", "train again with a lower learning rate (train.lr)"
        )
    return facts, arrays


def find_not_finite(arrays: Mapping[str, NDArray[Any]]) -> str | None:
    """Name the first array with NaN or infinity, and count them; None where all are finite."""
    for name, array in arrays.items():
        lost = array.size - np.count_nonzero(np.isfinite(array))
        if lost:
            return f"tensor {name} has NaN or infinity in {lost} of {array.size} values"
    return None


def read_facts(path: Path) -> dict[str, Any]:
    """What a checkpoint was made from.

    `weights` is the fingerprint of the model that was fine-tuned; `model`, `pretrained`,
    `cached_blocks`, `dtype` (of the cached tokens), `clip_seconds` and `train` are parameters;
    `given` has the values of `model` and `pretrained` from which a path was left out;
    `chosen` is the epoch whose weights it holds.

    Raises:
        CheckpointError: damaged, or not written by hlclip.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    with refusing_damage(path, "train", CheckpointError, remedy=CHECKPOINT_REMEDY):
        return _checked_facts(path.read_bytes())


def is_fine_tuned(facts: dict[str, Any]) -> bool:
    """Whether the checkpoint of these facts holds trained tensors; if not, it is zero-shot CLIP's.

    With 0 trained blocks the heads alone, or a temporal head, may have trained.
    """
    return facts["train"]["blocks"] > 0 or "chosen" in facts


def _checked_facts(content: bytes) -> dict[str, Any]:
    facts, written, digest = _parse(content)
    if written != digest:
        raise ValueError("its bytes do not match its digest")
    return facts


def _parse(content: bytes) -> tuple[dict[str, Any], str | None, str]:
    """The facts, the digest among them, and the digest of all other content."""
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    text = (header.pop("__metadata__", None) or {}).get(KEY)
    if text is None:
        raise ValueError(f"no metadata entry {KEY!r}")
    facts = json.loads(text)
    # JSON has several spellings of the same content, and is padded: one spelling alone is valid.
    if text != json.dumps(facts, sort_keys=True) or not content[8:stop].rstrip(b" ").endswith(b"}"):
        raise ValueError("its header is spelled differently")
    written = facts.pop("digest", None)
    hashed = xxhash.xxh3_128(json.dumps([header, facts], sort_keys=True).encode())
    hashed.update(content[stop:])
    return facts, written, hashed.hexdigest()
