"""A model of open_clip, built and filled from a weights file that is on this machine."""

import logging
import warnings
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import set_model_preprocess_cfg
from torch import nn

from hlclip.model.weight_files import (
    EncoderError,
    Shapes,
    WeightsError,
    check_fits,
    first_line,
    is_torchscript,
)
from hlclip.model.weights import CONFIG_NAME, again, openai_models

log = logging.getLogger(__name__)


def read_config(own: str, model: str) -> dict[str, Any]:
    try:
        config = open_clip.get_model_config(own)
    except (OSError, ValueError, AttributeError) as error:  # the last: JSON, but no object
        raise EncoderError(f"{model}: {CONFIG_NAME} cannot be read: {first_line(error)}") from error
    if not isinstance(config, dict):
        raise EncoderError(f"{model}: {CONFIG_NAME} holds no model, expected a `model_cfg`")
    return config


def load_tokenizer(own: str, model: str, config: dict[str, Any]) -> Any:
    wanted = config["text_cfg"].get("hf_tokenizer_name", "")
    try:
        # A tokenizer of the hub is not among the files of a model of the hub.
        return open_clip.get_tokenizer(model if wanted else own)
    except ModuleNotFoundError as error:
        raise EncoderError(
            f"{model}: its tokenizer {wanted!r} needs the package {error.name}, which is not "
            f"installed: pip install {error.name}"
        ) from error
    except Exception as error:  # of the hub, of transformers, of the tokenizer's own files
        raise EncoderError(
            f"{model}: its tokenizer {wanted!r} cannot be loaded: {first_line(error)}"
        ) from error


def load_model(
    own: str, pretrained: str | None, path: Path, *, expected: Shapes, model: str, device: str
) -> nn.Module:
    """Build the model and read its weights, after a look at the file without running it.

    Args:
        own: where open_clip finds the config: a built-in name or `local-dir:PATH`.
        pretrained: tag or file; None where the config says what images the weights want.
        path: the weights file.
        expected: names and shapes of the model's tensors.
        model: as the user calls it.

    Raises:
        EncoderError: the file is damaged, unsafe or another model's.
    """
    if pretrained is not None and is_torchscript(path) and openai_models(path):
        return _load_archive(path, model, device)
    check_fits(path, expected, model=model, again=again(path))
    return _load(own, pretrained, path, device)


def untrained_model(own: str, pretrained: str | None, device: str) -> nn.Module:
    """The same model with random weights, for its shapes and its speed."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # open_clip warns that the weights are random
    try:
        return open_clip.create_model(
            own,
            load_weights=False,
            pretrained_text=False,
            force_preprocess_cfg=_preprocessing(own, pretrained) if pretrained else None,
            device=device,
        )
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        raise EncoderError(f"{own}: open_clip cannot build it: {first_line(error)}") from error
    finally:
        root.setLevel(level)


def check_activation(model: str, pretrained: str | None) -> None:
    """Refuse weights that were trained with the other GELU: open_clip only warns, after loading.

    Raises:
        EncoderError: the tag's activation function is not the model's.
    """
    known = open_clip.get_pretrained_cfg(model, pretrained) if pretrained else None
    config = open_clip.get_model_config(model) if known else None
    if pretrained and not known and f"{model}-quickgelu" in open_clip.list_models():
        log.warning(
            "%s: a file does not say its activation function; %s has GELU, weights of OpenAI, "
            "MetaCLIP and DFN need %s-quickgelu",
            pretrained,
            model,
            model,
        )
    if known and config and known.get("quick_gelu", False) != config.get("quick_gelu", False):
        wanted = (
            f"{model}-quickgelu" if known.get("quick_gelu") else model.removesuffix("-quickgelu")
        )
        raise EncoderError(
            f"pretrained {pretrained!r} was trained with another activation function than model "
            f"{model!r} has: its features would be wrong",
            settings={"encoder.model": wanted},
        )


def _preprocessing(model: str, pretrained: str) -> dict[str, Any]:
    """The images that weights of a built-in model were trained on, as open_clip's table has it.

    A file does not say; it gets what all published weights of its model have in common, and
    open_clip's default where they differ.
    """
    tags = open_clip.list_pretrained_tags_by_model(model)
    known = open_clip.get_pretrained_cfg(model, pretrained)
    published = [known] if known else [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    common = {}
    for field in ("mean", "std", "interpolation", "resize_mode"):
        values = {tag[field] for tag in published}
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


def _load(own: str, pretrained: str | None, path: Path, device: str) -> nn.Module:
    try:
        if pretrained is None:
            return open_clip.create_model(own, device=device, require_pretrained=True)
        return open_clip.create_model(
            own,
            str(path),
            device=device,
            force_preprocess_cfg=_preprocessing(own, pretrained),
            require_pretrained=True,
            weights_only=True,
        )
    except Exception as error:  # open_clip raises bare exceptions of many kinds
        raise EncoderError(f"{path}: open_clip cannot load it: {first_line(error)}") from error


def _load_archive(path: Path, model: str, device: str) -> nn.Module:
    """OpenAI's original file: a program, but known to the last bit, so it may run."""
    models = openai_models(path)
    if model not in models:
        raise WeightsError(
            f"{path}: is OpenAI's {models[0]}, but the model is {model}",
            "give another file, or",
            settings={"encoder.model": models[-1]},
        )
    check_activation(model, "openai")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is on its way out
        loaded = open_clip.load_openai_model(str(path), precision="fp32", device=device)
    size = loaded.visual.image_size
    set_model_preprocess_cfg(loaded, {**_preprocessing(model, "openai"), "size": size})
    return loaded
