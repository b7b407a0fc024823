"""dvc.lock: parameters, inputs and outputs of the last run of each stage, as DVC records them.

Figures belong to the parameters of dvc.lock. params.yaml may have changed since, and the files in
a working folder may be those of another run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats.validation import refusing_damage

PARAMS_FILE = "params.yaml"
LOCK_FILE = "dvc.lock"


@dataclass(frozen=True)
class RunLock:
    """The last run of every stage."""

    params: dict[str, Any]
    """`section.key` -> value of each parameter that a stage read."""
    inputs: dict[str, str]
    """Path -> md5 of what the stages read and no stage made: code and data; ends in `.dir` for a
    folder."""
    outputs: dict[str, str]
    """Path -> md5 of what the stages made."""
    mixed: list[str]
    """Why the stages are not of one run; empty if they are."""

    def foreign(self, folder: Path, names: Iterable[str]) -> list[str]:
        """Those of the named outputs that are absent in `folder`, or are not of this run."""
        # An output that this run did not make has no md5 here, and no file has the md5 "".
        return [name for name in names if _md5(folder / name) != self.outputs.get(name, "")]


def read_lock(path: Path) -> RunLock:
    """Read a dvc.lock.

    Raises:
        DamagedFileError: it is damaged.
        OSError: it cannot be read.
    """
    return parse_lock(path.read_bytes(), path)


def parse_lock(content: bytes, path: Path = Path(LOCK_FILE)) -> RunLock:
    """The same from the content of the file; `path` is for the message.

    Raises:
        DamagedFileError: it is damaged.
    """
    with refusing_damage(path, "", remedy="take it from git (`git checkout -- dvc.lock`)"):
        try:
            stages = (YAML(typ="safe").load(content) or {}).get("stages", {})
        except YAMLError as error:
            raise ValueError(str(error)) from error
        outputs = {
            out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", ())
        }
        params: dict[str, Any] = {}
        inputs: dict[str, str] = {}
        mixed: list[str] = []
        for name, stage in stages.items():
            for key, value in flat(stage.get("params", {}).get(PARAMS_FILE, {})).items():
                if params.setdefault(key, value) != value:
                    mixed.append(f"{key} is {value} in {name}, {params[key]} in a stage before it")
            for dep in stage.get("deps", ()):
                if dep["path"] not in outputs:
                    inputs[dep["path"]] = dep["md5"]
                elif dep["md5"] != outputs[dep["path"]]:
                    mixed.append(f"{name} read another {dep['path']} than the last run made")
        return RunLock(params, inputs, outputs, mixed)


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by their names: `{"pool": {"window": 3}}` becomes `{"pool.window": 3}`."""
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        values |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return values


def _md5(path: Path) -> str | None:
    """md5 of a file's content, or of a folder's files as DVC computes it; None if it is absent."""
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*")}
        entries = [
            {"md5": _md5(file), "relpath": name}
            for name, file in sorted(files.items())
            if file.is_file()
        ]
        text = json.dumps(entries, sort_keys=True).encode()
        return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
