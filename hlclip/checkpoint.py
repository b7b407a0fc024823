"""A trained tail on disk: safetensors that say what made them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hlclip.errors import HlclipError
from hlclip.files import replacing
from hlclip.tail import Tail


class CheckpointError(HlclipError):
    """A checkpoint is damaged or belongs to another model; the message says which field."""


def save_tail(path: Path, tensors: dict[str, torch.Tensor], made_by: dict[str, Any]) -> None:
    """Write the trained parameters under open_clip's names, whole or not at all.

    `open_clip_model.load_state_dict(safetensors.torch.load_file(path), strict=False)` gives the
    fine-tuned CLIP.

    Args:
        tensors: open_clip parameter name -> tensor.
        made_by: JSON facts; `weights` must be the fingerprint of the model that was fine-tuned.
    """
    # One metadata entry: safetensors writes several in an order that changes from run to run.
    metadata = {"hlclip": json.dumps(made_by, sort_keys=True)}
    with replacing(path) as temporary:
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in tensors.items()},
            temporary,
            metadata,
        )


def read_facts(path: Path) -> dict[str, Any]:
    """What made a checkpoint.

    Raises:
        CheckpointError: not a whole safetensors file, or not written by hlclip.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from error
    if "hlclip" not in metadata:
        raise CheckpointError(f"{path}: not a checkpoint of hlclip (no metadata entry 'hlclip')")
    return json.loads(metadata["hlclip"])


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
