"""A data set of many tiny videos, what a run on it leaves in the store, and a lack of memory."""

import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from hlclip.store.item_file import read_checksums
from tests.films import film
from tests.models import save_model, tiny_config

ROOT = Path(__file__).parent.parent
KINDS = ("frames", "images", "texts")


@dataclass(frozen=True)
class Project:
    folder: Path
    """Holds params.yaml, data/ and model/."""
    vids: list[str]

    def params(self, **changes: Any) -> Path:
        """Write params.yaml; `changes` are keys of the section data."""
        values = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
        values["data"] |= {"root": str(self.folder / "data"), "max_missing": 0.0} | changes
        values["data"]["annotations"] = {"val": "val.jsonl"}
        values["frames"]["size"] = 32
        values["encoder"]["model"] = f"local-dir:{self.folder / 'model'}"
        values["evaluate"]["splits"] = ["val"]
        values["train"]["blocks"] = 0
        path = self.folder / "params.yaml"
        with path.open("w") as file:
            YAML(typ="safe").dump(values, file)
        return path


def many_videos(folder: Path, count: int) -> Project:
    """So many videos of two clips; every third query is that of another video, too."""
    videos = folder / "data/videos"
    videos.mkdir(parents=True)
    content = film(folder / "film.mkv", "-c:v", "ffv1", size="48x32", seconds=4).read_bytes()
    vids = [f"v{number:04}" for number in range(count)]
    rows = []
    for number, vid in enumerate(vids):
        (videos / f"{vid}.mkv").write_bytes(content + vid.encode())  # other bytes, same pictures
        query = f"picture {number - number % 3}"
        rows.append({"qid": number, "query": query, "vid": vid, "duration": 4})
        rows[-1] |= {"relevant_clip_ids": [0], "saliency_scores": [[1, 2, 3]]}
        rows[-1] |= {"relevant_windows": [[0, 2]]}
    (folder / "data/val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_model(folder / "model", tiny_config())
    project = Project(folder, vids)
    project.params()
    return project


def items(store: Path) -> dict[str, bytes]:
    """Path -> bytes of every item of a store; each is whole."""
    found = {}
    for kind in KINDS:
        for path in (store / kind).rglob("*.h5"):
            read_checksums(path)
            found[path.relative_to(store).as_posix()] = path.read_bytes()
    return found


def kill_for_memory(process: int) -> None:
    """Let the kernel end a process for want of memory, as far as this system lets us."""
    groups = Path("/sys/fs/cgroup/memory")
    group = groups / f"hlclip-{process}"
    if not os.access(groups, os.W_OK):
        os.kill(process, signal.SIGKILL)  # what the kernel sends
        return
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("0")
    (group / "cgroup.procs").write_text(str(process))
    while "oom_kill 1" not in (group / "memory.oom_control").read_text():
        assert Path(f"/proc/{process}").exists()
        time.sleep(0.01)
    while (group / "cgroup.procs").read_text():
        time.sleep(0.01)
    group.rmdir()
