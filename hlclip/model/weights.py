"""Find the weights that `encoder.model` and `encoder.pretrained` name, on this machine or the hub.

open_clip's own search hides the first error behind the next, and asks the network for files that
are cached. Here each search ends in one file, or in one error that says which file to put where.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import open_clip
from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hlclip.model.borrowed import (
    HF_SAFE_WEIGHTS_NAME,
    HF_WEIGHTS_NAME,
    find_checkpoint_in_dir,
    parse_model_name,
)
from hlclip.model.hub import CONFIG_NAME, HubFile, cached, fetch, find_on_hub
from hlclip.model.weight_files import SUFFIXES, WeightsError, is_torchscript, tensor_shapes
from hlclip.system import sha256_of


@dataclass(frozen=True)
class WeightsStatus:
    """Where the weights are, found without loading or changing anything."""

    place: Literal["file", "cache", "hub", "nowhere"]
    """A local file, a file in the hub's cache, only on the hub, or none within reach."""
    where: str
    """Path or address; the reason where `place` is nowhere."""
    size: int | None
    """Bytes, where known."""
    remedy: str
    """What to do; empty where nothing is to be done."""


def find_weights(model: str, pretrained: str | None) -> Path | HubFile:
    """The weights file, or the hub's file to fetch; the config of a hub model is fetched here."""
    schema, name = _parse(model, pretrained)
    if schema == "local-dir":
        return _find_in_folder(Path(name))
    if schema == "hf-hub":
        # Config and weights are of one commit, even if the repository changes in between.
        commit = fetch(hub_config(name)).parent.name
        return HubFile(name, _candidates(""), "encoder.model", commit)
    check_builtin(name)
    return _find_pretrained(name, pretrained)


def check_builtin(name: str) -> None:
    """`WeightsError` unless open_clip has a model of this name."""
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        raise WeightsError(
            f"open_clip has no model {name!r}",
            f"near it: {', '.join(near)}" if near else "`hlclip models` lists them",
        )


def hub_config(repo: str) -> HubFile:
    """The config of a model on the hub."""
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise WeightsError(
            f"{repo!r} cannot be a repository of the hub",
            settings={"encoder.model": "hf-hub:ORG/NAME"},
        ) from error
    return HubFile(repo, (CONFIG_NAME,), "encoder.model")


def weights_status(model: str, pretrained: str | None, *, timeout: float = 5.0) -> WeightsStatus:
    """Say where the weights of `load_encoder` are; the hub is asked at most whether it has them.

    Args:
        timeout: seconds to wait for the hub.
    """
    try:
        schema, name = _parse(model, pretrained)
        if schema == "hf-hub":
            config = cached(hub_config(name))
            revision = config.parent.name if config else constants.DEFAULT_REVISION
            weights = HubFile(name, _candidates(""), "encoder.model", revision)
            path = cached(weights) if config else None
        else:
            weights = find_weights(model, pretrained)
            path = weights if isinstance(weights, Path) else cached(weights)
        if path is not None:
            if not openai_models(path):
                tensor_shapes(path)
            place = "file" if isinstance(weights, Path) else "cache"
            return WeightsStatus(place, str(path), path.stat().st_size, "")
        assert isinstance(weights, HubFile)
        file, size = find_on_hub(weights, timeout=timeout)
        return WeightsStatus("hub", weights.url(file), size, "the first run fetches it")
    except WeightsError as error:
        return WeightsStatus("nowhere", error.reason, None, error.remedy())


def openai_models(path: Path) -> list[str]:
    """Names, shortest first, of the model whose TorchScript archive by OpenAI is this file.

    open_clip's table has the sha256 of each archive in its address.
    """
    if path.suffix not in SUFFIXES or not is_torchscript(path):
        return []
    address = f"/{sha256_of(path)}/"
    models = open_clip.list_models()
    names = [name for name in models if address in open_clip.get_pretrained_url(name, "openai")]
    return sorted(names, key=len)


def _parse(model: str, pretrained: str | None) -> tuple[str | None, str]:
    """Schema, `local-dir`, `hf-hub` or None, and the folder, repository or built-in name."""
    try:
        schema, name = parse_model_name(model)
    except ValueError as error:
        raise WeightsError(
            f"model {model!r} names nothing", "write local-dir:PATH or hf-hub:ORG/NAME"
        ) from error
    if schema is not None and pretrained is not None:
        raise WeightsError(
            f"pretrained is {pretrained!r}, but {model!r} brings its own weights",
            "leave pretrained out",
        )
    return schema, name


def _find_in_folder(folder: Path) -> Path:
    remedy = f"the folder needs {CONFIG_NAME} and {HF_SAFE_WEIGHTS_NAME}"
    if not folder.is_dir():
        raise WeightsError(f"no folder {folder}", remedy)
    if not (folder / CONFIG_NAME).is_file():
        raise WeightsError(f"{folder}: has no {CONFIG_NAME}", remedy)
    path = find_checkpoint_in_dir(folder)
    if path is None:
        raise WeightsError(f"{folder}: has no weights file", remedy)
    return Path(path)


def _find_pretrained(model: str, pretrained: str | None) -> Path | HubFile:
    """Weights of a built-in model, by tag or file."""
    if published := open_clip.get_pretrained_cfg(model, pretrained or ""):
        repo, name = os.path.split(published["hf_hub"])  # ORG/NAME/FILE, or ORG/NAME/
        return HubFile(repo, _candidates(name), "encoder.pretrained")
    path = Path(pretrained or "")
    if pretrained and path.is_file():
        return path
    if pretrained and (path.suffix in SUFFIXES or path.exists() or len(path.parts) > 1):
        raise WeightsError(
            f"no weights file {path}",
            f"give the path of a weights file of {model}",
            settings={"encoder.pretrained": "/path/to/file"},
        )
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise WeightsError(
        f"pretrained must name a tag or weights file for {model!r}, got {pretrained!r}",
        f"the tags of {model} are {tags}",
        settings={"encoder.pretrained": "..."},
    )


def _candidates(name: str) -> tuple[str, ...]:
    """Names to look for on the hub, safetensors first; an empty `name` is the default name."""
    if name in ("", HF_WEIGHTS_NAME):
        return HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    stem, suffix = os.path.splitext(name)
    return (f"{stem}.safetensors", name) if suffix in (".bin", ".pth") else (name,)
