"""Load an open_clip model as an `Encoder`, with its weights or with random ones, on a device."""

import logging
import warnings
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import nn

from hlclip.formats import Header, find_not_finite
from hlclip.model.encoder import Encoder
from hlclip.model.hub import CONFIG_NAME, HubFile, cached, fetch
from hlclip.model.towers import build_empty, check_config
from hlclip.model.weight_files import (
    NO_MEMORY,
    EncoderError,
    WeightsError,
    check_fits,
    check_refusal,
    short_reason,
)
from hlclip.model.weights import check_builtin, find_weights, hub_config, openai_models

log = logging.getLogger(__name__)


def load_encoder(
    model: str,
    pretrained: str | None,
    *,
    cached_blocks: int,
    device: str = "cpu",
    frames: Header | None = None,
) -> Encoder:
    """Load an open_clip model with its weights.

    A model that cannot be cut, or that takes other frames, is refused before its weights are
    fetched, and a file of another model before its tensors are read. docs/weights.md says which
    files are taken, from where.

    Args:
        model: open_clip model name, `local-dir:PATH` or `hf-hub:ORG/NAME`.
        pretrained: tag or weights file; None for a folder or repository, which has its own.
        cached_blocks: blocks of each tower that belong to the tail.
        device: where the trunk runs.
        frames: header of the frames that it will encode; None if they are made to fit.

    Raises:
        EncoderError: unknown model or tag, weights missing, damaged, unsafe, not finite or not for
            this model, activation function not the one the weights were trained with, a model that
            cannot be cut, or one that takes other frames.
    """
    weights = find_weights(model, pretrained)
    openai = openai_models(weights) if pretrained and isinstance(weights, Path) else []
    if openai and model not in openai:
        raise WeightsError(
            f"{weights}: is OpenAI's {openai[0]}, but the model is {model}",
            "give another file, or",
            settings={"encoder.model": openai[-1]},
        )
    encoder = untrained_encoder(
        model, "openai" if openai else pretrained, cached_blocks=cached_blocks, device=device
    )
    if frames is not None and (corrections := encoder.preprocess.corrections(frames)):
        wrong = ", ".join(f"{key} is {frames[key.removeprefix('frames.')]}" for key in corrections)
        raise EncoderError(f"{wrong}, but {model} takes other frames", settings=corrections)
    path = weights if isinstance(weights, Path) else fetch(weights)
    if not openai:
        state = encoder.model.state_dict()
        check_fits(path, {name: tuple(state[name].shape) for name in state}, model=model)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit, which reads OpenAI's archives, is ending
            # An archive of OpenAI is a program, but a known one, so it may run.
            open_clip.load_checkpoint(encoder.model, str(path), weights_only=not openai)
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        check_refusal(path, error)
        raise EncoderError(f"{path}: open_clip cannot load it: {short_reason(error)}") from error
    state = encoder.model.state_dict()
    if problem := find_not_finite({name: t.cpu().numpy() for name, t in state.items()}):
        raise WeightsError(f"{path}: {problem}", "give weights of a training that did not diverge")
    return encoder


def untrained_encoder(
    model: str, pretrained: str | None, *, cached_blocks: int, device: str = "cpu"
) -> Encoder:
    """The encoder of `load_encoder` with random weights: its shapes, preprocessing and speed.

    Nothing is fetched and no weights are read; the config of an `hf-hub:` model must be in the
    hub's cache. It raises what `load_encoder` raises.
    """
    local, config = _read_config(model)
    Encoder(build_empty(config, model), None, name=model, cached_blocks=cached_blocks)
    preprocessing = None
    if pretrained:
        check_activation(model, pretrained)
        preprocessing = _published_preprocessing(model, pretrained)
    tokenizer = _load_tokenizer(local, model, config)
    built = _build(local, model, preprocessing, device)
    return Encoder(built, tokenizer, name=model, cached_blocks=cached_blocks, config=config)


def empty_encoder(model: str, pretrained: str | None, *, cached_blocks: int) -> Encoder:
    """The encoder of `load_encoder` on torch's `meta` device: shapes and preprocessing.

    It has no tokenizer, takes no memory for weights, and fetches nothing. It raises what
    `untrained_encoder` raises for the model.
    """
    local, config = _read_config(model)
    check_config(config, model)
    preprocessing = _published_preprocessing(model, pretrained) if pretrained else None
    with torch.device("meta"):
        built = _build(local, model, preprocessing, "meta")
    return Encoder(built, None, name=model, cached_blocks=cached_blocks, config=config)


def check_activation(model: str, pretrained: str) -> None:
    """Refuse weights that were trained with the other GELU: open_clip only warns, after loading."""
    published = open_clip.get_pretrained_cfg(model, pretrained)
    twin = f"{model}-quickgelu"
    if not published and twin in open_clip.list_models():
        reason = f"a file does not say its activation function; {model} has GELU"
        log.warning("%s: %s, weights of OpenAI, MetaCLIP and DFN need %s", pretrained, reason, twin)
    config = open_clip.get_model_config(model) if published else None
    quick = published.get("quick_gelu", False)
    if config and quick != config.get("quick_gelu", False):
        twin = twin if quick else model.removesuffix("-quickgelu")
        raise EncoderError(
            f"pretrained {pretrained!r} was trained with another activation function than model "
            f"{model!r} has: its features would be wrong",
            settings={"encoder.model": twin},
        )


def _read_config(model: str) -> tuple[str, dict[str, Any]]:
    """The name under which open_clip finds a model without the network, and its config."""
    local = model
    if model.startswith("hf-hub:"):
        path = cached(hub_config(model.removeprefix("hf-hub:")))
        if path is None:
            raise EncoderError(f"{model}: its config is not fetched yet, so its shape is not known")
        local = f"local-dir:{path.parent}"  # the folder of the commit, in the hub's cache
    elif not model.startswith("local-dir:"):
        check_builtin(model)
    try:
        config = open_clip.get_model_config(local)
    except (OSError, ValueError, AttributeError) as error:  # the last: JSON, but no object
        reason = f"{model}: {CONFIG_NAME} cannot be read: {short_reason(error)}"
        raise EncoderError(reason) from error
    if not isinstance(config, dict):
        raise EncoderError(f"{model}: {CONFIG_NAME} holds no model, expected a `model_cfg`")
    return local, config


def _build(local: str, model: str, preprocessing: dict[str, Any] | None, device: str) -> nn.Module:
    """open_clip's model with random weights."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip warns that the weights are random
    try:
        return open_clip.create_model(
            local,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=preprocessing,
            device=device,
        )
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
            raise
        raise EncoderError(f"{model}: open_clip cannot build it: {short_reason(error)}") from error
    finally:
        root.setLevel(level)


def _load_tokenizer(local: str, model: str, config: dict[str, Any]) -> Any:
    hub_name = config["text_cfg"].get("hf_tokenizer_name", "")
    try:
        if hub_name and ":" not in model:
            # One request first: without a network, transformers retries for a minute.
            names = ("tokenizer_config.json", "config.json")  # the hub's repository has one
            fetch(HubFile(hub_name, names, "encoder.model"))
        # The files of a hub tokenizer are not among those of the commit's folder.
        return open_clip.get_tokenizer(model if hub_name else local)
    except Exception as error:  # of the hub, of transformers, of the tokenizer's own files
        package = error.name if isinstance(error, ModuleNotFoundError) else None
        files = "tokenizer.json and tokenizer_config.json"
        remedy = f"the model's folder needs {files} of {hub_name} (encoder.model: local-dir:PATH)"
        raise EncoderError(
            f"{model}: its tokenizer {hub_name!r} cannot be loaded: {short_reason(error)}",
            f"pip install {package}" if package else remedy,
        ) from error


def _published_preprocessing(model: str, pretrained: str) -> dict[str, Any]:
    """The preprocessing of a built-in model's weights, from open_clip's table of tags.

    The table does not list files: a file gets what all published weights of its model have in
    common, and open_clip's default where they differ.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    published = [tag] if tag else [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    common = {}
    for field in ("mean", "std", "interpolation", "resize_mode"):
        values = {config[field] for config in published}
        if len(values) == 1:
            common[field] = values.pop()
        elif values:
            log.warning(
                "%s: published weights of %s differ in %s and a file does not say its own: taking "
                "open_clip's default; a folder with %s can say it (encoder.model: local-dir:PATH)",
                pretrained,
                model,
                field,
                CONFIG_NAME,
            )
    return common
