"""Write and read the trained part of a tail."""

from pathlib import Path
from typing import Any

import torch

from hlclip.formats import CheckpointError, read_arrays, read_facts, write_arrays
from hlclip.model.tail import Tail


def save_tail(path: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write the trained parameters under open_clip's names, whole or not at all.

    `open_clip_model.load_state_dict(safetensors.torch.load_file(path), strict=False)` makes the
    fine-tuned CLIP of a pretrained one.

    Args:
        tensors: open_clip parameter name -> tensor.
        facts: JSON, see `read_facts`; `weights` must be the fingerprint of the fine-tuned model.
    """
    arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
    write_arrays(path, arrays, facts)


def load_tail(path: Path, tail: Tail, *, weights: str) -> dict[str, Any]:
    """Put a checkpoint's parameters into a tail of the model that was fine-tuned.

    Args:
        tail: from `build_tail`; changed in place.
        weights: fingerprint of the model of `tail`.

    Returns:
        The checkpoint's facts, see `read_facts`.

    Raises:
        CheckpointError: damaged, or made from other weights or another architecture.
    """
    facts = read_facts(path)
    if facts["weights"] != weights:
        raise CheckpointError(
            f"{path}: field 'weights' is {facts['weights']}, expected {weights}: "
            "it was fine-tuned from other weights than the model's"
        )
    parameters = {tail.names[name]: p for name, p in tail.named_parameters()}
    _, arrays = read_arrays(path)
    with torch.no_grad():
        for name, array in arrays.items():
            if name not in parameters or parameters[name].shape != array.shape:
                raise CheckpointError(
                    f"{path}: parameter {name} {array.shape} does not fit the tail",
                    "the checkpoint may need more cached blocks",
                    settings={"encoder.cached_blocks": facts["cached_blocks"]},
                )
            parameters[name].copy_(torch.from_numpy(array))
    return facts
