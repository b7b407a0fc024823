"""`hlclip models`: the encoders that can be used, and what they cost."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, echo

from hlclip.cli.terminal import Json, print_json

if TYPE_CHECKING:
    from hlclip.model import CatalogueEntry

QVHIGHLIGHTS_FRAMES = 10_148 * 75
"""One frame for each clip of two seconds, of 10,148 videos of 150 s."""

_TAGS_WIDTH = 44
"""Characters of the last column."""


def models(
    names: Annotated[
        list[str] | None,
        Argument(
            metavar="NAME",
            help="Only models with this in their name; also local-dir:FOLDER or hf-hub:ORG/NAME.",
        ),
    ] = None,
    frames: Annotated[
        int,
        Option(metavar="N", min=1, help="Clips of your data set, for the size of the store."),
    ] = QVHIGHLIGHTS_FRAMES,
    refused: Annotated[
        bool, Option("--refused", help="List the models that cannot be used, with the reason.")
    ] = False,
    json: Json = False,
) -> None:
    """The encoders that can be used, and what each costs; no weights are downloaded.

    A model can be used if both of its towers have transformer blocks of a kind that hlclip can cut.
    The smallest store comes first.

    \b
    model        value of encoder.model; with * its tokenizer needs the package transformers
    tower        class of the image tower, and the library that it comes from
    frames       values of frames.size, frames.resize and frames.interpolation
    tokens       cached tokens of a frame x their width
    store GB     activations of all frames in float16; default: QVHighlights, 761,100 frames
    trunk, tail  million parameters that run once, and that run in every step of training (the last
                 two blocks, norm, pooling and projection of both towers)
    pretrained   values of encoder.pretrained; without one, give a weights file

    open_clip states no licence of weights. The page of the weights on the hub does: --json has its
    address. --json also has the mean and standard deviation of the pixels, and the refused models.

    \b
    Examples:
      hlclip models                          all of them, in some twenty seconds
      hlclip models siglip2 pe-core
      hlclip models ViT-B-32 --frames 30000  your own data set: 30,000 clips
      hlclip models --refused                what cannot be used, and why
      hlclip models local-dir:my_clip        a model of your own
      dvc exp run -S encoder.model=PE-Core-B-16 -S encoder.pretrained=meta \\
          -S frames.resize=squash -S frames.interpolation=bilinear
    """
    from tqdm import tqdm

    from hlclip.model import EncoderError, describe_model, find_models

    entries: list[CatalogueEntry] = []
    reasons: dict[str, str] = {}
    bar = tqdm(find_models(names or []), desc="models", unit="model", disable=None, leave=False)
    for model in bar:
        try:
            entries += describe_model(model)
        except EncoderError as error:
            reasons[model] = error.reason.removeprefix(f"{model}: ")
    entries.sort(key=lambda entry: (_store_bytes(entry, frames), _parameters(entry)))
    if json:
        facts = [_facts(entry, frames) for entry in entries]
        print_json({"frames": frames, "models": facts, "refused": reasons})
        return
    if refused or not entries:
        for model, reason in reasons.items():
            echo(f"{model}: {reason}")
    else:
        echo(_table(entries, frames))
    usable = len({entry.encoder.name for entry in entries})
    hint = "; --refused says why" if reasons and entries and not refused else ""
    echo(f"\n{usable} can be used, {len(reasons)} cannot{hint}")


def _store_bytes(entry: "CatalogueEntry", frames: int) -> int:
    """Of the image tokens in float16."""
    tokens, width = entry.encoder.image_shape
    return frames * tokens * width * 2


def _parameters(entry: "CatalogueEntry") -> int:
    return entry.encoder.trunk_parameters + entry.encoder.tail_parameters


def _table(entries: "list[CatalogueEntry]", frames: int) -> str:
    from tabulate import tabulate

    heads = ["model", "tower", "frames", "tokens", "store GB", "trunk", "tail", "pretrained"]
    rows = []
    for entry in entries:
        encoder = entry.encoder
        form = encoder.preprocess
        tokens, width = encoder.image_shape
        rows.append(
            [
                encoder.name + (" *" if encoder.tokenizer else ""),
                encoder.family,
                f"{form.size} {form.resize} {form.interpolation}",
                f"{tokens} x {width}",
                f"{_store_bytes(entry, frames) / 1e9:,.1f}",
                f"{encoder.trunk_parameters / 1e6:,.0f}",
                f"{encoder.tail_parameters / 1e6:,.0f}",
                ", ".join(entry.pretrained) or "-",
            ]
        )
    align = ("left", "left", "left", "right", "right", "right", "right", "left")
    widths = [None] * (len(heads) - 1) + [_TAGS_WIDTH]
    return tabulate(rows, heads, colalign=align, disable_numparse=True, maxcolwidths=widths)


def _facts(entry: "CatalogueEntry", frames: int) -> dict[str, Any]:
    facts = asdict(entry.encoder)
    tokens, width = facts.pop("image_shape")
    return {
        "model": facts.pop("name"),
        **facts,
        "tokens": tokens,
        "width": width,
        "store_bytes": _store_bytes(entry, frames),
        "pretrained": entry.pretrained,
    }
