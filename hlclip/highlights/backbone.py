"""Where the model of a checkpoint is on this machine: the pretrained CLIP that was fine-tuned.

A checkpoint holds the trained tensors alone. Its facts name the model, and the fingerprint of all
the model's weights tells whether a model is the right one, wherever it was found.
"""

from difflib import get_close_matches
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from hlclip.formats import CheckpointError, read_facts
from hlclip.system import HlclipError

Backbone = tuple[str, str | None]
"""Values of `encoder.model` and `encoder.pretrained`."""

_FOLDER = "local-dir:"


def find_backbones(
    checkpoint: Path | None, model: str | None, pretrained: str | None
) -> list[Backbone]:
    """The model, or the weights of the checkpoint's model, that a user names; else candidates.

    The fingerprint in a checkpoint decides which candidate is its model. Folders and weights files
    are looked for below each folder above the checkpoint, below the working directory, and under
    their last name next to the checkpoint. Nothing is loaded: torch and open_clip take seconds.

    Raises:
        HlclipError: a name of nothing.
        CheckpointError: damaged, or its model was not found on this machine.
    """
    if checkpoint is not None:
        facts = read_facts(checkpoint)
        if model is None and pretrained is None:
            return _of_checkpoint(checkpoint, facts)
        model = model or str(facts["model"])
    assert model is not None
    _refuse_mistyped(model)
    return [(model, pretrained)]


def _of_checkpoint(checkpoint: Path, facts: dict[str, Any]) -> list[Backbone]:
    names: dict[str, str] = {name: str(facts[name]) for name in ("model", "pretrained")}
    names |= facts.get("given", {})
    model, pretrained = names["model"], names["pretrained"]
    found: list[Backbone]
    if model.startswith(_FOLDER):
        places = _places(checkpoint, Path(model.removeprefix(_FOLDER)))
        found = [(f"{_FOLDER}{place}", None) for place in places if place.is_dir()]
        missing, named = "folder", f"--model {_FOLDER}/path/to/folder"
    elif facts["pretrained"] == "file":
        places = _places(checkpoint, Path(pretrained))
        found = [(model, str(place)) for place in places if place.is_file()]
        missing, named = f"weights file of {model}", "--pretrained /path/to/file"
    else:
        _refuse_mistyped(model)
        return [(model, None if pretrained == "none" else pretrained)]
    if not found:
        raise CheckpointError(
            f"{checkpoint}: the model that it was fine-tuned from is not on this machine; no "
            f"{missing} {' or '.join(map(str, places))}",
            f"copy it to one of these places, or name it: {named}",
        )
    return found


def _refuse_mistyped(model: str) -> None:
    schema, colon, name = model.partition(":")
    schema, name = (schema, name) if colon else ("", schema)
    if schema == "local-dir" and not Path(name).is_dir():
        raise HlclipError(f"model {model}: no folder {name}", "name the folder of a model")
    configs = Path(str(distribution("open_clip_torch").locate_file("open_clip/model_configs")))
    names = [config.stem for config in configs.glob("*.json")]
    if not schema and names and name.replace("/", "-") not in names:
        near = get_close_matches(name, names, n=3, cutoff=0.5)
        raise HlclipError(
            f"open_clip has no model {name!r}",
            f"near it: {', '.join(near)}" if near else "`hlclip models` lists all",
        )


def _places(checkpoint: Path, path: Path) -> list[Path]:
    """Where a path may be that was relative to a repository, or is another machine's."""
    file = checkpoint.absolute()
    # The last are those of a checkpoint that is a link.
    folders = [*file.parents, Path.cwd(), *file.resolve().parents]
    return list(dict.fromkeys([*(folder / path for folder in folders), file.parent / path.name]))
