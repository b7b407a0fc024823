"""Facts of a loaded model, remembered in the store as long as its files do not change.

With them a query on a video that was scored before needs no model, and a new query needs no hash of
all weights. Like the cache of videos this only saves time.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from hlclip.formats import Header
from hlclip.store import FORMAT_VERSION
from hlclip.system import WriteError, file_state, write_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFacts:
    """Everything about a model and its checkpoint that is part of the store's keys.

    `frames`, `images` and `texts` are the headers of its frames, image tokens and text tokens.
    """

    frames: Header
    images: Header
    texts: Header
    variant: str
    """Identity of the tail: `zero-shot`, or the sha256 of the checkpoint."""
    clip_seconds: float
    temporal: bool
    """The tail has a temporal head: scores are not the cosines of the stored features."""


def read_model_facts(store: Path, names: Mapping[str, str | None]) -> ModelFacts | None:
    """The remembered facts of a model; None where there are none or one of its files has changed.

    Args:
        names: how the user names the model: `checkpoint`, `model`, `pretrained`, `dtype`.
    """
    try:
        content = json.loads(_cache_file(store, names).read_text(encoding="utf-8"))
        if content["files"] != file_states(map(Path, content["files"])):
            return None
        return ModelFacts(**content["model"])
    except (OSError, ValueError, LookupError, TypeError):  # missing or damaged
        return None


def write_model_facts(
    store: Path, names: Mapping[str, str | None], facts: ModelFacts, files: Mapping[str, str]
) -> None:
    """Remember facts for `read_model_facts`; facts that cannot be written are a warning.

    Args:
        files: `file_states` of all files from which the model was loaded, at that time.
    """
    path = _cache_file(store, names)
    try:
        write_json(path, {"files": dict(files), "model": asdict(facts)})
    except WriteError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.reason
        log.warning("%s: not saved, the next command loads the model again (%s)", path, reason)


def file_states(files: Iterable[Path]) -> dict[str, str]:
    """Absolute path -> `file_state`, of the files that exist."""
    return {str(path.absolute()): file_state(path) for path in files if path.is_file()}


def _cache_file(store: Path, names: Mapping[str, str | None]) -> Path:
    # Names may be relative paths, and the configs of open_clip's models come with its version.
    identity = {**names, "folder": str(Path.cwd()), "open_clip": version("open_clip_torch")}
    identity["format"] = str(FORMAT_VERSION)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:40]
    return store / "models" / f"{key}.json"
