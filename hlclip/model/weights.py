"""What `encoder.model` and `encoder.pretrained` name: a weights file here or on the hub.

open_clip's own search hides the first error behind the next and asks the network for files that are
cached; here each way ends in a file, or in one error that says what to place where.
"""

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import open_clip
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
from open_clip.factory import _find_checkpoint_in_dir, parse_model_name

from hlclip.model.hub import HubFile, ask, cached, fetch, in_cache, url
from hlclip.model.weight_files import (
    SUFFIXES,
    WeightsError,
    is_torchscript,
    sha256_of,
    tensor_shapes,
)

CONFIG_NAME = "open_clip_config.json"


@dataclass(frozen=True)
class WeightsStatus:
    """Whether the weights are there, found out without loading or changing anything."""

    place: Literal["file", "cache", "hub", "nowhere"]
    """A file on this machine, one in the hub's cache, only on the hub, or none within reach."""
    where: str
    """Path or address; what is wrong where `place` is nowhere."""
    size: int | None
    """Bytes, where known."""
    remedy: str
    """What to do; empty where there is nothing to do."""


def find_weights(model: str, pretrained: str | None) -> Path | HubFile:
    """The weights file, or what to fetch; of a model on the hub, its config is fetched.

    Raises:
        WeightsError: no such model, tag, file or folder, or the config cannot be fetched.
    """
    schema, name = _parse(model)
    if schema is not None and pretrained is not None:
        raise WeightsError(
            f"pretrained is {pretrained!r}, but {model!r} brings its own weights",
            "leave pretrained out",
        )
    if schema == "local-dir":
        return _in_folder(Path(name))
    if schema == "hf-hub":
        # Of one commit, also when the repository changes between the two.
        return _of_repository(name, revision=fetch(hub_config(name)).parent.name)
    if name not in open_clip.list_models():
        near = get_close_matches(name, open_clip.list_models(), n=3, cutoff=0.5)
        raise WeightsError(
            f"open_clip has no model {name!r}",
            f"near it: {', '.join(near)}" if near else "open_clip.list_models() names all",
        )
    if pretrained is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise WeightsError(
            f"pretrained must name a tag or weights file for {name!r}, which has the tags: {tags}",
            settings={"encoder.pretrained": "..."},
        )
    return _of_tag(name, pretrained) or _file(name, pretrained)


def hub_config(repo: str) -> HubFile:
    """The file that says how a model on the hub is built.

    Raises:
        WeightsError: not a name that a repository can have.
    """
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise WeightsError(
            f"{repo!r} cannot be a repository of the hub",
            settings={"encoder.model": "hf-hub:ORG/NAME"},
        ) from error
    return HubFile(repo, (CONFIG_NAME,), *_GIVE_A_FOLDER)


def weights_status(model: str, pretrained: str | None, *, timeout: float = 5.0) -> WeightsStatus:
    """Say whether the weights are there; at most the hub is asked whether it has them.

    Args:
        model, pretrained: as in `load_encoder`.
        timeout: seconds to wait for the hub.
    """
    try:
        schema, name = _parse(model)
        if schema == "hf-hub":
            config = cached(hub_config(name))
            found = _of_repository(name, revision=config.parent.name if config else "main")
            path = cached(found) if config else None
        else:
            found = find_weights(model, pretrained)
            path = found if isinstance(found, Path) else cached(found)
        if path is not None:
            if not (is_torchscript(path) and openai_models(path)):
                tensor_shapes(path, again=again(path))
            place = "file" if isinstance(found, Path) else "cache"
            return WeightsStatus(place, str(path), path.stat().st_size, "")
        assert isinstance(found, HubFile)
        file, size = ask(found, timeout=timeout)
        return WeightsStatus("hub", url(found, file), size, "the first run fetches it")
    except WeightsError as error:
        return WeightsStatus("nowhere", error.reason, None, error.remedy())


def again(path: Path) -> str:
    """How to get a whole file in the place of a bad one."""
    if in_cache(path):
        # The name in the cache is a link: without the file behind it, it is fetched anew.
        return f"delete {path.resolve()} and run again, which fetches it"
    return f"put a whole {path.name} there"


def openai_models(archive: Path) -> list[str]:
    """Models whose weights, as OpenAI published them, are this very file; plain name first."""
    digest = sha256_of(archive)
    known = [
        name
        for name in open_clip.list_models()
        if f"/{digest}/" in open_clip.get_pretrained_url(name, "openai")
    ]
    return sorted(known, key=len)


_GIVE_A_FILE = (
    "on a machine that can, download {url}, copy it here and run with",
    ("encoder.pretrained", "/path/to/{name}"),
)
_GIVE_A_FOLDER = (
    f"on a machine that can, download {CONFIG_NAME} and {HF_SAFE_WEIGHTS_NAME} of {{page}} into a "
    "folder, copy it here and run with",
    ("encoder.model", "local-dir:/path/to/folder"),
)


def _parse(model: str) -> tuple[str | None, str]:
    """Schema, `local-dir`, `hf-hub` or None, and what it is about."""
    try:
        return parse_model_name(model)
    except ValueError as error:
        raise WeightsError(
            f"model {model!r} names nothing", "write local-dir:PATH or hf-hub:ORG/NAME"
        ) from error


def _in_folder(folder: Path) -> Path:
    remedy = f"the folder needs {CONFIG_NAME} and {HF_SAFE_WEIGHTS_NAME}"
    if not folder.is_dir():
        raise WeightsError(f"no folder {folder}", remedy)
    if not (folder / CONFIG_NAME).is_file():
        raise WeightsError(f"{folder}: has no {CONFIG_NAME}", remedy)
    path = _find_checkpoint_in_dir(folder)
    if path is None:
        raise WeightsError(f"{folder}: has no weights file", remedy)
    return Path(path)


def _of_repository(repo: str, *, revision: str) -> HubFile:
    return HubFile(repo, _safest_first(""), *_GIVE_A_FOLDER, revision)


def _of_tag(model: str, tag: str) -> HubFile | None:
    known = open_clip.get_pretrained_cfg(model, tag)
    if not known:
        return None
    repo, name = os.path.split(known["hf_hub"])  # ORG/NAME/FILE, or ORG/NAME/
    return HubFile(repo, _safest_first(name), *_GIVE_A_FILE)


def _file(model: str, pretrained: str) -> Path:
    path = Path(pretrained)
    if path.is_file():
        return path
    if path.suffix in SUFFIXES or path.exists() or len(path.parts) > 1:
        raise WeightsError(
            f"no weights file {path}",
            f"give the path of a weights file of {model}",
            settings={"encoder.pretrained": "/path/to/file"},
        )
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
    raise WeightsError(
        f"pretrained {pretrained!r} is no file and no tag of {model}, which has: {tags}",
        "give one or the other",
        settings={"encoder.pretrained": "..."},
    )


def _safest_first(name: str) -> tuple[str, ...]:
    """Names to look for on the hub: safetensors, where there is one, before a pickle."""
    if name in ("", HF_WEIGHTS_NAME):
        return HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME
    stem, suffix = os.path.splitext(name)
    return (f"{stem}.safetensors", name) if suffix in (".bin", ".pth") else (name,)
