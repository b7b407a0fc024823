"""The models that open_clip knows by name: which can be used, and with which weights."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import open_clip
import torch
from huggingface_hub import constants
from torch.overrides import TorchFunctionMode

from hlclip.model.description import EncoderDescription, describe_encoder
from hlclip.model.loading import check_activation
from hlclip.model.weight_files import EncoderError


@dataclass(frozen=True)
class CatalogueEntry:
    """A model, and those of its published weights that take frames in the same form."""

    encoder: EncoderDescription
    pretrained: dict[str, str]
    """Tag -> page of the weights on the hub, where their licence is stated; may be empty."""


def find_models(names: Sequence[str]) -> list[str]:
    """The models of open_clip whose name contains one of `names`, or all models without `names`.

    Upper and lower case are the same. A `local-dir:` or `hf-hub:` name stands for itself.

    Raises:
        EncoderError: a name finds nothing.
    """
    every = open_clip.list_models()
    found: dict[str, None] = {}
    for name in names or [""]:
        if name.startswith(("local-dir:", "hf-hub:")):
            matching = [name]
        else:
            matching = [model for model in every if name.lower() in model.lower()]
        if not matching:
            near = get_close_matches(name, every, n=3, cutoff=0.4)
            raise EncoderError(
                f"no model of open_clip has {name!r} in its name",
                f"near it: {', '.join(near)}" if near else "`hlclip models` lists all",
            )
        found |= dict.fromkeys(matching)
    return list(found)


def describe_model(model: str) -> list[CatalogueEntry]:
    """What a model needs: an entry for each form of frames that its published weights take.

    Raises:
        EncoderError: the model cannot be used, with the reason.
    """
    tags = [tag for tag in open_clip.list_pretrained_tags_by_model(model) if _fits(model, tag)]
    forms: dict[tuple[str, str], list[str]] = defaultdict(list)
    for tag in tags:
        published = open_clip.get_pretrained_cfg(model, tag)
        forms[published["resize_mode"], published["interpolation"]].append(tag)
    with _WithoutInitialisation():
        return [
            CatalogueEntry(
                describe_encoder(model, alike[0] if alike else None),
                {tag: _page(model, tag) for tag in alike},
            )
            for alike in forms.values() or [[]]
        ]


def _fits(model: str, tag: str) -> bool:
    """Whether the loader takes these weights for the model."""
    try:
        check_activation(model, tag)
    except EncoderError:
        return False
    return True


def _page(model: str, tag: str) -> str:
    repository = open_clip.get_pretrained_cfg(model, tag)["hf_hub"].split("/")[:2]
    return "/".join([constants.ENDPOINT, *repository])


_INITIALISE = ("normal_", "uniform_", "erfinv_", "clamp_", "mul_", "add_", "fill_", "zero_")
"""In-place functions by which layers fill their new weights."""


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves new weights without memory as they are: filling them takes half of the time."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        meta = args and isinstance(args[0], torch.Tensor) and args[0].is_meta
        if meta and func.__name__ in _INITIALISE:
            return args[0]
        return func(*args, **(kwargs or {}))
