"""A trained tail on disk: safetensors that say what made them."""

import json
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import safe_open
from safetensors.torch import save

from hlclip.model.tail import Tail
from hlclip.system.errors import HlclipError
from hlclip.system.files import write_whole


class CheckpointError(HlclipError):
    """A checkpoint is damaged or belongs to another model; the message says which field."""


class _NotOursError(ValueError):
    """Another program's file."""


_REMEDY = "`dvc repro --force train` makes it anew"


def save_tail(path: Path, tensors: dict[str, torch.Tensor], made_by: dict[str, Any]) -> None:
    """Write the trained parameters under open_clip's names, whole or not at all.

    `open_clip_model.load_state_dict(safetensors.torch.load_file(path), strict=False)` gives the
    fine-tuned CLIP.

    Args:
        tensors: open_clip parameter name -> tensor.
        made_by: JSON facts; `weights` must be the fingerprint of the model that was fine-tuned.
    """
    stored = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}

    def content(facts: dict[str, Any]) -> bytes:
        # One metadata entry: safetensors writes several in an order that changes from run to run.
        return save(stored, {"hlclip": json.dumps(facts, sort_keys=True)})

    # safetensors has no checksum: a flipped bit would be another weight.
    _, digest = _opened(content(made_by))
    write_whole(path, content({**made_by, "digest": digest}))


def read_facts(path: Path) -> dict[str, Any]:
    """What made a checkpoint.

    Raises:
        CheckpointError: not a whole safetensors file, or not written by hlclip.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        facts, digest = _opened(path.read_bytes())
    except _NotOursError as error:
        raise CheckpointError(f"{path}: not a checkpoint of hlclip ({error})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: damaged, not a whole safetensors file ({error}); {_REMEDY}"
        ) from error
    said = facts.pop("digest", None)
    if said is None:
        raise CheckpointError(
            f"{path}: has no digest, so nobody can say whether it is whole: older than hlclip's "
            f"checkpoints are now, or damaged; {_REMEDY}"
        )
    if said != digest:
        raise CheckpointError(f"{path}: damaged, its bytes do not match its digest; {_REMEDY}")
    return facts


def load_tail(path: Path, tail: Tail, *, weights: str) -> dict[str, Any]:
    """Put a checkpoint's parameters into a tail of the model that it was made from.

    Args:
        tail: as `build_tail` gives it; changed in place.
        weights: fingerprint of the model behind `tail`.

    Returns:
        What made the checkpoint, see `save_tail`.

    Raises:
        CheckpointError: damaged, or made from other weights or another architecture.
    """
    facts = read_facts(path)
    if facts["weights"] != weights:
        raise CheckpointError(
            f"{path}: field 'weights' is {facts['weights']}, expected {weights}: "
            "it was fine-tuned from other weights than encoder names"
        )
    parameters = {tail.names[name]: p for name, p in tail.named_parameters()}
    with safe_open(path, "pt") as file, torch.no_grad():
        for name in file.keys():  # noqa: SIM118 (not a dict)
            tensor = file.get_tensor(name)
            if name not in parameters or parameters[name].shape != tensor.shape:
                raise CheckpointError(
                    f"{path}: parameter {name} {tuple(tensor.shape)} does not "
                    "fit the tail; encoder.cached_blocks may be too small"
                )
            parameters[name].copy_(tensor)
    return facts


def _opened(content: bytes) -> tuple[dict[str, Any], str]:
    """The facts in a safetensors file, and the digest of all that it holds but their `digest`."""
    stop = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:stop])
    written = (header.pop("__metadata__", None) or {}).get("hlclip")
    if written is None:
        raise _NotOursError("no metadata entry 'hlclip'")
    facts = json.loads(written)
    # JSON can be spelt in several ways, and is padded; only the one that was written is whole.
    if written != json.dumps(facts, sort_keys=True) or not content[8:stop].rstrip(b" ").endswith(
        b"}"
    ):
        raise ValueError("its header is spelt otherwise")
    held = {name: fact for name, fact in facts.items() if name != "digest"}
    hashed = xxhash.xxh3_128(json.dumps([header, held], sort_keys=True).encode())
    hashed.update(content[stop:])
    return facts, hashed.hexdigest()
