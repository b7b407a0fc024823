"""Weights files are checked by their header alone, and nothing in them is run.

A pickle runs whatever it names, so files of `torch.save` are only read with `weights_only=True`. A
TorchScript archive is a program that runs when it is loaded, so only archives whose sha256 is known
are loaded.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from huggingface_hub import constants
from safetensors import safe_open

from hlclip.model.borrowed import convert_to_custom_text_state_dict
from hlclip.system import HlclipError, naming

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")

Shapes = dict[str, tuple[int, ...]]
"""Parameter name -> shape."""


_PIECE_BYTES = 2**24

NO_MEMORY = re.compile("out of memory|an't allocate memory|annot allocate memory|ALLOC_FAILED")
"""In the messages of torch, CUDA and safetensors, which have no type for every such error."""


class EncoderError(HlclipError):
    """The model cannot be loaded or cut; the message says which and why."""


class WeightsError(EncoderError):
    """Weights are missing, damaged, unsafe or another model's."""


def is_torchscript(path: Path) -> bool:
    """Whether a weights file is a TorchScript archive; only the names in the archive are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def tensor_shapes(path: Path) -> Shapes:
    """Names and shapes of the tensors in a weights file, without reading a tensor or running code.

    Raises:
        WeightsError: the file is missing, empty, cut off, of another format, or a pickle or
            TorchScript program that cannot be read safely.
    """
    remedy = _replacement_remedy(path)
    problem = None
    if not path.is_file():
        problem = "no such weights file"
    elif path.suffix not in SUFFIXES:
        problem = f"weights files end in {', '.join(SUFFIXES)}, not {path.suffix!r}"
    elif path.stat().st_size == 0:
        problem = "is empty, expected a weights file"
    if problem:
        raise WeightsError(f"{path}: {problem}", remedy)
    with path.open("rb") as file:
        if file.read(24).startswith(b"version https://git-lfs"):
            raise WeightsError(
                f"{path}: is a Git LFS pointer, not the weights themselves",
                f"run `git lfs pull` in the clone, or {remedy}",
            )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
        except Exception as error:  # SafetensorError derives from nothing narrower
            check_refusal(path, error)
            raise WeightsError(
                f"{path}: not a whole safetensors file ({short_reason(error)})", remedy
            ) from error
    if is_torchscript(path):
        raise WeightsError(
            f"{path}: is a TorchScript archive, a program that would run when loaded; hlclip loads "
            "only OpenAI's own archives, known by their sha256",
            "give a safetensors file; hlclip's docs/weights.md shows how to convert an archive "
            "that you trust",
        )
    return _pickle_shapes(path, remedy)


def check_fits(path: Path, expected: Shapes, *, model: str) -> None:
    """Refuse a weights file whose tensors are not, by name and shape, those that `model` expects.

    Raises:
        WeightsError: the file cannot be read, or belongs to another model; the message counts and
            shows the differences.
    """
    with naming(path):
        shapes = tensor_shapes(path)
    if "text.text_projection" in expected:
        # As open_clip does when a CustomTextCLIP loads the file of a CLIP.
        shapes = convert_to_custom_text_state_dict(shapes)
    # Scale and bias of the contrastive loss may be a number or a vector of one.
    loss = {"logit_scale", "logit_bias"}
    missing = [name for name in expected if name not in shapes and name != "logit_bias"]
    unknown = [name for name in shapes if name not in expected]
    reshaped = [n for n in expected if n in shapes and n not in loss and shapes[n] != expected[n]]
    differences = [
        f"{len(reshaped)} of another shape ({name} is {list(shapes[name])}, "
        f"expected {list(expected[name])})"
        for name in reshaped[:1]
    ]
    for names, problem in ((missing, "missing"), (unknown, f"that {model} does not have")):
        if names:
            differences.append(f"{len(names)} {problem} ({_first_names(names)})")
    if differences:
        raise WeightsError(
            f"{path}: not the weights of {model}, which has {len(expected)} tensors: "
            + "; ".join(differences),
            "give this model's file, or name the model that the file belongs to",
        )


def check_refusal(path: Path, error: Exception) -> None:
    """Raise what the system refused, if it did, when a reader of weights failed with `error`.

    Libraries give no errno for a read that failed, or memory that there was not: such an error is
    no evidence against the file.

    Raises:
        OSError: the file cannot be read to its end.
        MemoryError: the reader got no memory.
    """
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        raise MemoryError(short_reason(error)) from error
    with naming(path), path.open("rb") as file:
        if isinstance(error, OSError):
            raise error
        while file.read(_PIECE_BYTES):
            pass


def short_reason(error: Exception) -> str:
    """First line of an error's message, or the error's type where the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".:") if lines else type(error).__name__


def _replacement_remedy(path: Path) -> str:
    """How to replace a bad weights file."""
    file = path.resolve()
    if file.is_relative_to(Path(constants.HF_HUB_CACHE).resolve()):
        # In the hub's cache a name is a link; without its target the file is downloaded again.
        return f"delete {file} and run again, which downloads it"
    return f"put a whole {path.name} there"


def _pickle_shapes(path: Path, remedy: str) -> Shapes:
    try:
        content: Any = torch.load(path, map_location="meta", weights_only=True)
    except Exception as error:  # the file's content decides which of many kinds
        # torch's message is long and advises to load the file unsafely: one line of it is useful.
        check_refusal(path, error)
        unsafe = [line.strip() for line in str(error).splitlines() if "nsupported" in line]
        if unsafe and "global" in unsafe[0].lower():
            raise WeightsError(
                f"{path}: holds more than tensors, which could run anything when it is unpickled, "
                f"and is not read ({unsafe[0].rstrip('.')})",
                "give a safetensors file, or one made by torch.save(model.state_dict(), ...)",
            ) from error
        damaged = isinstance(error, UnpicklingError)
        reason = "no pickle of tensors" if damaged else short_reason(error)
        raise WeightsError(f"{path}: not a whole file of torch.save ({reason})", remedy) from error
    state = content.get("state_dict", content) if isinstance(content, Mapping) else content
    if not isinstance(state, Mapping) or not state:
        problem = f"it holds {'nothing' if content == {} else 'a ' + type(state).__name__}"
    else:
        others = [
            str(name)
            for name, value in state.items()
            if not (isinstance(name, str) and isinstance(value, torch.Tensor))
        ]
        problem = f"not all entries are ({_first_names(others)})" if others else None
    if problem:
        raise WeightsError(
            f"{path}: expected tensors by name, as in model.state_dict(), but {problem}", remedy
        )
    distributed = next(iter(state)).startswith("module.")
    return {name[7:] if distributed else name: tuple(t.shape) for name, t in state.items()}


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", ..." if len(names) > 2 else "")
