"""What a disturbed run may leave in a project: whole files, the same ones, and nothing else."""

import shutil
from pathlib import Path

from tests.e2e.conftest import Project

OUTPUTS = {
    "index": ["index.json"],
    "frames": ["frames.json"],
    "activations": ["activations.json"],
    "train": ["train.safetensors", "train.csv"],
    "score": ["score.safetensors"],
    "evaluate": [
        "figures.json",
        "predictions",
        "window.csv",
        "moments.csv",
        "saliency.csv",
        "calibration.json",
        "reliability.csv",
        "../metrics.json",
    ],
}
"""Stage -> what it writes, from `outputs`."""

STORED = {
    "index": ["videos.json"],
    "frames": ["frames"],
    "activations": ["images", "texts"],
    "train": ["training"],
}
"""Stage -> what it writes, from the store."""


def forget(project: Project, stage: str) -> None:
    """As before the stage ever ran."""
    names = [f"outputs/{name}" for name in OUTPUTS[stage]]
    names += [f".hlclip/store/{name}" for name in STORED.get(stage, [])]
    for path in [project.root / name for name in names]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def whole_outputs(project: Project) -> dict[str, bytes]:
    """Whole files; what a killed writer was at has a hidden folder of its own."""
    files = [path for path in (project.root / "outputs").rglob("*") if path.is_file()]
    files += [path for path in [project.root / "metrics.json"] if path.exists()]
    names = {str(path.relative_to(project.root)): path for path in files}
    return {name: path.read_bytes() for name, path in names.items() if ".tmp/" not in name}


def assert_whole(there: dict[str, bytes], expected: dict[str, bytes]) -> None:
    for name, content in there.items():
        if name == "outputs/train.csv":  # grows by a line an epoch, to be looked at meanwhile
            assert expected[name].startswith(content)
            assert content.endswith(b"\n")
        else:
            assert content == expected[name], name


def assert_clear(said: str) -> None:
    """One error that ends a stage: a line of what, a line of what to do, no traceback."""
    assert "Traceback" not in said
    what, to_do = said.splitlines()[-2:]
    assert ": " in what
    assert said.count(what) == said.count(to_do) == 1
    assert said.count("cannot be written") <= 1


def identities(project: Project, *, store: str = ".hlclip/store") -> dict[Path, tuple[int, int]]:
    """Items of the store -> inode and time of writing: neither changes unless it is made again."""
    items = (project.root / store).rglob("*.h5")
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in items}


def leftovers(project: Project) -> list[Path]:
    """Temporary files of hlclip's own, wherever they are."""
    patterns = ("*.tmp", "store/training/*.pt")
    found = [path for pattern in patterns for path in project.root.rglob(pattern)]
    # DVC's own: the copy of the project in which a killed `dvc exp run --temp` was at work.
    return [path for path in found if project.root / ".dvc" / "tmp" not in path.parents]
