"""The facts that a checkpoint states, read without torch."""

from pathlib import Path
from typing import Any

from hlclip.formats.safetensors_file import DamagedFileError, check_facts
from hlclip.system import HlclipError


class CheckpointError(HlclipError):
    """A checkpoint is damaged or belongs to another model; the message says which field."""


def read_facts(path: Path) -> dict[str, Any]:
    """What a checkpoint was made from.

    `weights` is the fingerprint of the model that was fine-tuned; `model`, `pretrained`,
    `cached_blocks`, `clip_seconds` and `train` are parameters; `chosen` is the epoch whose weights
    it holds.

    Raises:
        CheckpointError: damaged, or not written by hlclip.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        return check_facts(path.read_bytes())
    except DamagedFileError as error:
        raise CheckpointError(
            f"{path}: damaged, or not a checkpoint of hlclip ({error})",
            "`dvc repro --force train` makes it again",
        ) from error
