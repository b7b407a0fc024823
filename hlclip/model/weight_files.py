"""Weights files, looked at without running anything that is in them.

A pickle runs whatever it names, so torch's files are only read with `weights_only=True`; a
TorchScript archive is a program that runs when it is loaded, so only those known by their sha256
are. Each file is checked by its header alone, before a model is built from it.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open

from hlclip.system import HlclipError

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

Shapes = dict[str, tuple[int, ...]]


class EncoderError(HlclipError):
    """The model cannot be loaded or cut; the message says which and why."""


class WeightsError(EncoderError):
    """Weights are missing, damaged, unsafe or another model's."""


def is_torchscript(path: Path) -> bool:
    """Whether a weights file is a TorchScript archive, by the names in it; nothing is loaded."""
    if path.suffix not in SUFFIXES or not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_shapes(path: Path, *, again: str) -> Shapes:
    """Names and shapes of the tensors in a weights file; no tensor is read, no code is run.

    Args:
        again: how to get a whole file, for the error.

    Raises:
        WeightsError: no such file, empty, cut off, of another format, or a pickle or TorchScript
            program that cannot be read safely.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file", again)
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"{path}: weights files end in {', '.join(SUFFIXES)}, not {path.suffix!r}", again
        )
    if path.stat().st_size == 0:
        raise WeightsError(f"{path}: is empty, expected a weights file", again)
    with path.open("rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            raise WeightsError(
                f"{path}: is a Git LFS pointer, not the weights themselves",
                f"run `git lfs pull` where it was cloned; or {again}",
            )
    if path.suffix == ".safetensors":
        return _safetensors_shapes(path, again)
    if is_torchscript(path):
        raise WeightsError(
            f"{path}: is a TorchScript archive, a program that would run when loaded; hlclip loads "
            "only OpenAI's own, known by sha256",
            "give a safetensors file; docs/weights.md: how to convert an archive that you trust",
        )
    return _torch_shapes(path, again)


def check_fits(path: Path, expected: Shapes, *, model: str, again: str) -> None:
    """Compare a weights file's header with what `model` needs, name by name and shape by shape.

    Args:
        expected: shapes of the model's own tensors.
        again: how to get a whole file, for the error.

    Raises:
        WeightsError: the file cannot be read, or belongs to another model; the message counts and
            shows the differences.
    """
    found = tensor_shapes(path, again=again)
    if "text_projection" in found and "text.text_projection" in expected:
        towers = ("text_projection", "positional_embedding", "token_embedding", "transformer")
        text = (*towers, "ln_final")  # open_clip moves an old file's text tower here
        found = {f"text.{n}" if n.startswith(text) else n: s for n, s in found.items()}
    # Scale and bias of the contrastive loss may be a number or a vector of one.
    loss = {"logit_scale", "logit_bias"}
    missing = [name for name in expected if name not in found and name != "logit_bias"]
    unknown = [name for name in found if name not in expected]
    reshaped = [n for n in expected if n in found and n not in loss and found[n] != expected[n]]
    differences = []
    if reshaped:
        name = reshaped[0]
        differences.append(
            f"{len(reshaped)} of another shape ({name} is {list(found[name])}, "
            f"expected {list(expected[name])})"
        )
    if missing:
        differences.append(f"{len(missing)} missing ({_some(missing)})")
    if unknown:
        differences.append(f"{len(unknown)} that {model} does not have ({_some(unknown)})")
    if differences:
        raise WeightsError(
            f"{path}: not the weights of {model}, which has {len(expected)} tensors: "
            + "; ".join(differences),
            "give this model's file, or name the model that the file belongs to",
        )


def _safetensors_shapes(path: Path, again: str) -> Shapes:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # SafetensorError derives from nothing narrower
        raise WeightsError(
            f"{path}: not a whole safetensors file ({first_line(error)})", again
        ) from error


def _torch_shapes(path: Path, again: str) -> Shapes:
    try:
        content: Any = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # of many kinds: what is in the file decides
        # torch's own message is long and advises to load the file unsafely: one line is of use.
        strange = [line.strip() for line in str(error).splitlines() if "nsupported" in line]
        if strange and "global" in strange[0].lower():
            raise WeightsError(
                f"{path}: holds more than tensors, which could run anything when it is unpickled, "
                f"and is not read ({strange[0].rstrip('.')})",
                "give a safetensors file, or one made by torch.save(model.state_dict(), ...)",
            ) from error
        known = isinstance(error, UnpicklingError)
        reason = "no pickle of tensors" if known else first_line(error)
        raise WeightsError(f"{path}: not a whole file of torch.save ({reason})", again) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        raise WeightsError(
            f"{path}: expected tensors by name, as in model.state_dict(), but it holds "
            f"{'nothing' if content == {} else 'a ' + type(state).__name__}",
            again,
        )
    strangers = [
        str(name)
        for name, value in state.items()
        if not (isinstance(name, str) and isinstance(value, torch.Tensor))
    ]
    if strangers:
        raise WeightsError(
            f"{path}: expected tensors by name, as in model.state_dict(), but not all entries are "
            f"({_some(strangers)})",
            again,
        )
    distributed = next(iter(state)).startswith("module.")
    return {name[7:] if distributed else name: tuple(t.shape) for name, t in state.items()}


def first_line(message: object) -> str:
    """The beginning of an error's message, for a message of one's own."""
    lines = str(message).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(message).__name__


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
