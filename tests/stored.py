"""A repository with a store that is partly named: real items, manifests, git and DVC, small."""

import shutil
import subprocess
from contextlib import chdir
from pathlib import Path

import numpy as np
from dvc.repo import Repo

from hlclip.formats.manifests import Item, Manifest, write_manifests
from hlclip.store.store import Store, content_key

FRAMES: dict[str, str | int | float] = {"clip_seconds": 2.0, "size": 4}
IMAGES: dict[str, str | int | float] = {
    "model": "tiny",
    "weights": "ab" * 32,
    "tower": "image",
    "dtype": "float16",
    **{f"more {n}": n for n in range(6)},
}
TEXTS = {**IMAGES, "tower": "text"}
HEADERS = {"frames": FRAMES, "images": IMAGES, "texts": TEXTS, "features": {**IMAGES, "variant": 1}}


def put(root: Path, kind: str, content: str, **header: str | int | float) -> Item:
    """An item of random numbers that depend on its content alone."""
    store = Store(root, kind, {**HEADERS[kind], **header})
    key = content_key(store.header, content)
    random = np.random.default_rng(int(key, 16))
    array = random.integers(0, 200, (3, 4), np.uint8 if kind == "frames" else np.uint16)
    return store.get_or_make(key, lambda: array if kind == "frames" else array.view(np.float16))


def put_data_set(root: Path, workspace: Path, *vids: str) -> dict[str, Manifest]:
    """The items of a data set with these videos, named by the manifests of a workspace."""
    manifests = {
        kind: Manifest(dict(HEADERS[kind]), {vid: put(root, kind, vid) for vid in vids}, {})
        for kind in ("frames", "images", "texts")
    }
    write_manifests(workspace / "outputs/frames.json", frames=manifests["frames"])
    activations = {kind: manifests[kind] for kind in ("images", "texts")}
    write_manifests(workspace / "outputs/activations.json", **activations)
    return manifests


def paths(root: Path, *vids: str, kinds: tuple[str, ...] = ("frames", "images", "texts")) -> set:
    """Files of a data set's items."""
    return {
        Store(root, kind, HEADERS[kind]).path(content_key(HEADERS[kind], vid))
        for kind in kinds
        for vid in vids
    }


def files(root: Path) -> set[Path]:
    """All items in a store."""
    return set(root.glob("*/*/*.h5"))


DVC_YAML = """
stages:
  frames:
    cmd: "true"
    deps: [vids]
    outs: [outputs/frames.json]
  activations:
    cmd: "true"
    deps: [outputs/frames.json]
    outs: [outputs/activations.json]
"""


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "protocol.file.allow=always")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def make_repository(folder: Path) -> None:
    """git and DVC, with the two stages that write manifests; nothing run."""
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    Repo.init(str(folder)).close()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "vids").write_text("")
    (folder / ".gitignore").write_text("/outputs/\n/.hlclip/\n")


def run_stages(folder: Path, root: Path, *vids: str) -> None:
    """As a run of the pipeline leaves it: items, manifests, DVC's cache and lock."""
    (folder / "vids").write_text(" ".join(vids))
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    put_data_set(root, folder, *vids)
    with chdir(folder), Repo() as repo:
        repo.commit(force=True)


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "-qm", "state")
    return git(folder, "rev-parse", "HEAD")
