"""Stages that can be killed at any moment, cheaply: forked from a process that has torch loaded."""

import glob
import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from signal import SIGINT, SIGKILL, Signals

import psutil

from tests.e2e.conftest import Project

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["torch", "torch._dynamo", "open_clip", "h5py", "pydantic", "safetensors.torch", "ffmpeg"]
)

WHO = ("NAME", "EMAIL")


def start(project: Project, stage: str, *, first: Callable[[], None] | None = None) -> BaseProcess:
    """`python -m stages.<stage>` in the project, but for the time that its imports take.

    Args:
        first: what its process does before.
    """
    process = FORKS.Process(target=_be, args=(stage, str(project.root), first))
    process.start()
    return process


def _be(stage: str, folder: str, first: Callable[[], None] | None) -> None:
    os.chdir(folder)
    sys.path.insert(0, folder)
    for name in [name for name in sys.modules if name.split(".")[0] in ("hlclip", "stages")]:
        del sys.modules[name]
    said = os.open("said.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    if first is not None:
        first()
    sys.argv = ["-m"]
    runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)


def finish(project: Project, stage: str) -> float:
    """Run a stage to its end; how many seconds it took after its imports."""
    process = start(project, stage)
    begun = at_work(project, process)
    process.join(120)
    assert process.exitcode == 0, (project.root / "said.txt").read_text()
    return time.monotonic() - begun


def ended(
    project: Project, stage: str, *, first: Callable[[], None] | None = None
) -> tuple[int | None, str]:
    """Run a stage until it ends, well or not: its exit status and all it says."""
    said = project.root / "said.txt"
    said.write_text("")
    process = start(project, stage, first=first)
    process.join(120)
    return process.exitcode, said.read_text()


def at_work(project: Project, process: BaseProcess) -> float:
    """Wait for a stage's own work to begin: it then holds the lock of its folder."""
    lock = project.root / ".hlclip" / "stage.lock"
    while process.is_alive():
        if lock.exists() and f"(process {process.pid})" in lock.read_text():
            break
        time.sleep(0.002)
    return time.monotonic()


@dataclass
class Toll:
    """Counts of what was done to a project."""

    random: Random
    inside: dict[str, int] = field(default_factory=dict[str, int])
    """Kills that hit a stage at its work."""
    early: int = 0
    """Stages that were done before the signal came."""

    def kill_dvc(self, project: Project, how: str, seconds: float, *arguments: str) -> None:
        """Start `dvc` and end it at a random moment after the first stage is at work.

        Args:
            how: `alone` kills it but not its stage, `group` both, `ctrl-c` interrupts both.
        """
        begun = time.time_ns()
        process = dvc(project, *arguments)
        while process.poll() is None and not _stage_since(project, begun):
            time.sleep(0.01)
        time.sleep(self.random.uniform(0, seconds))
        if process.poll() is None:
            if how == "alone":
                process.kill()
            else:
                os.killpg(process.pid, SIGKILL if how == "group" else SIGINT)
            process.wait(120)  # of dvc alone: its stage may live on
            name = f"dvc {' '.join(arguments)}: {how}"
            self.inside[name] = self.inside.get(name, 0) + 1
        else:
            self.early += 1

    def kill(self, project: Project, stage: str, number: Signals, seconds: float) -> None:
        """Start a stage and end it at a random moment of the `seconds` that it takes."""
        process = start(project, stage)
        at_work(project, process)
        time.sleep(self.random.uniform(0, seconds))
        if process.is_alive() and process.pid is not None:
            os.kill(process.pid, number)
        process.join(30)
        name = f"{stage} {number.name}"
        if process.exitcode in (-number, 128 + number):
            self.inside[name] = self.inside.get(name, 0) + 1
        else:
            assert process.exitcode == 0, (project.root / "said.txt").read_text()
            self.early += 1


def _stage_since(project: Project, begun: int) -> bool:
    # The lock of a stage may lie in the copy of the project that `--temp` makes. pathlib's glob
    # would stumble over a copy that DVC is just removing.
    lock = ".hlclip/stage.lock"
    places = [lock, f".dvc/tmp/exps/standalone/*/{lock}"]
    for path in (p for place in places for p in glob.glob(f"{project.root}/{place}")):
        with suppress(FileNotFoundError):
            if os.stat(path).st_mtime_ns > begun:
                return True
    return False


def dvc(project: Project, *arguments: str) -> "subprocess.Popen[str]":
    """`dvc` in a session of its own, as in a terminal of its own."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(project.root.parent),
        "OMP_NUM_THREADS": "1",
        **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in WHO},
    }
    return subprocess.Popen(
        ["dvc", *arguments],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def processes_in(project: Project) -> list[str]:
    """What still runs in the project's folder or below."""
    found: list[str] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(str(project.root)):
                found.append(" ".join(process.cmdline()))
    return found
