"""What a checkpoint says of itself, read without torch."""

from pathlib import Path
from typing import Any

from hlclip.formats import safetensors_file
from hlclip.formats.safetensors_file import DamagedFileError, ForeignFileError
from hlclip.system import HlclipError


class CheckpointError(HlclipError):
    """A checkpoint is damaged or belongs to another model; the message says which field."""


def read_facts(path: Path) -> dict[str, Any]:
    """What made a checkpoint.

    `weights` is the fingerprint of the model that was fine-tuned; `model`, `pretrained`,
    `cached_blocks`, `clip_seconds` and `train` are parameters; `chosen` is the epoch that was kept.

    Raises:
        CheckpointError: damaged, or not written by hlclip.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        return safetensors_file.read_facts(path)
    except ForeignFileError as error:
        raise CheckpointError(f"{path}: not a checkpoint of hlclip ({error})") from error
    except DamagedFileError as error:
        raise CheckpointError(
            f"{path}: damaged ({error}); `dvc repro --force train` makes it again"
        ) from error
