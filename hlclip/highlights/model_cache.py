"""What a loaded model said of itself, remembered in the store while its files stay as they are.

With it a query that was asked before, on a video that was scored before, needs no model at all, and
a new one no hash over all weights. Like the index of videos it compares size, time and inode of the
files; it only saves time.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from hlclip.formats import Header
from hlclip.store import FORMAT_VERSION
from hlclip.system import file_state, write_json


@dataclass(frozen=True)
class ModelFacts:
    """All that the keys of the store need to know of a model and its checkpoint."""

    frames: Header
    """Header of the frames that it wants."""
    images: Header
    """Header of its image tokens."""
    texts: Header
    """Header of its text tokens."""
    variant: str
    """Names the tail: `zero-shot`, or the checkpoint's sha256."""
    clip_seconds: float


def read_model_facts(store: Path, named: Mapping[str, str | None]) -> ModelFacts | None:
    """What was remembered of the model that was named so, unless a file of it has changed.

    Args:
        store: folder of the store.
        named: how a person names the model: checkpoint, model, pretrained.
    """
    try:
        content = json.loads(_place(store, named).read_text(encoding="utf-8"))
        if content["files"] != _state([Path(path) for path in content["files"]]):
            return None
        return ModelFacts(**content["model"])
    except (OSError, ValueError, LookupError, TypeError):  # not there, or of no use
        return None


def write_model_facts(
    store: Path, named: Mapping[str, str | None], model: ModelFacts, files: Sequence[Path]
) -> None:
    """Keep it for `read_model_facts`.

    Args:
        store, named: see `read_model_facts`.
        model: what is to be kept.
        files: all files that it was made from.
    """
    content = {"files": _state(files), "model": asdict(model)}
    write_json(_place(store, named), content)


def _place(store: Path, named: Mapping[str, str | None]) -> Path:
    # Names may be relative, and open_clip brings the configs of the models that it knows by name.
    facts = {**named, "folder": str(Path.cwd()), "open_clip": version("open_clip_torch")}
    facts["format"] = str(FORMAT_VERSION)
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
    return store / "models" / f"{key}.json"


def _state(files: Sequence[Path]) -> dict[str, str]:
    """Absolute path -> what changes when a file does."""
    return {str(path.absolute()): file_state(path) for path in files}
