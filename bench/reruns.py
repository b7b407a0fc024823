"""What an experiment with another pooling window costs, in a clone of this repository."""

import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.pairs import Pair
from bench.training import ROOT


def cases(folder: Path) -> Iterator[Pair]:
    clone = folder / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    run(folder, "git", "clone", "--quiet", str(ROOT), str(clone))
    # What DVC has of files, and not its memory of runs: it would bring back what ran before.
    shutil.copytree(ROOT / ".dvc/cache/files", clone / ".dvc/cache/files")
    run(clone, "dvc", "repro", "--quiet")
    windows = itertools.count(5, 2)

    def experiment() -> None:
        name = f"w{next(windows)}"
        run(clone, "dvc", "exp", "run", "--quiet", "-n", name, "-S", f"pool.window={name[1:]}")

    def nothing() -> None:
        run(clone, "dvc", "repro", "--quiet")
        run(clone, sys.executable, "-c", "pass")

    yield Pair(
        "dvc exp run -S pool.window=N",
        "dvc repro with nothing to do, and a bare interpreter",
        experiment,
        nothing,
        least_ratio=0.4,
        rounds=5,
    )


def run(folder: Path, *command: str) -> None:
    bin_folder = Path(sys.executable).parent
    env = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "HLCLIP_STORE": str(ROOT / ".hlclip/store"),
    }
    env.pop("DVC_ROOT", None)
    done = subprocess.run(command, cwd=folder, env=env, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stdout}{done.stderr}")
