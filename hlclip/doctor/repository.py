"""Checks of git, DVC and the last run in this folder. They change nothing."""

import json
import os
import subprocess
from pathlib import Path

import psutil

from hlclip.doctor.machine import Check, Finding
from hlclip.formats import LOCK_FILE, DamagedFileError, check_version, flat, read_lock
from hlclip.params import Params
from hlclip.system import HlclipError, git_output, is_shallow

_RWLOCK = Path(".dvc/tmp/rwlock")
"""Where DVC notes which processes read and write which outputs."""


def check_repository() -> Check[None]:
    """Is this a repository of git and DVC in which experiments can run and are kept?"""
    try:
        changed = git_output("status", "--porcelain").splitlines()
    except (OSError, subprocess.CalledProcessError):
        found = "this is no git repository, DVC's experiments need one"
        remedy = "`git init && git add --all && git commit -m start`, or `hlclip init FOLDER`"
        yield Finding("git", "problem", found, remedy)
        return
    if not _git_answers("rev-parse", "--verify", "HEAD"):
        found = "no commit yet, and DVC's experiments belong to a commit"
        yield Finding("git", "problem", found, "`git add --all && git commit -m start`")
    elif changed:
        found = f"{len(changed)} changed files; an experiment includes them"
        yield Finding("git", "note", found, names=changed)
    else:
        yield Finding("git", "ok", "nothing changed since the last commit")
    unknown = [key for key in ("user.name", "user.email") if not _is_known(key)]
    if unknown:
        found = f"{' and '.join(unknown)} not set: `dvc exp run` fails without"
        remedy = '`git config --global user.name "Your Name"`, and user.email'
        yield Finding("git identity", "problem", found, remedy)
    if is_shallow():
        found = "a shallow clone: DVC loses the experiments of --temp and --queue"
        yield Finding("git history", "problem", found, "`git fetch --unshallow`")
    if not str(Path.cwd()).isascii():
        found = f"{Path.cwd()} is not plain ASCII: `dvc exp run --temp` and `--queue` fail in DVC"
        remedy = "move the project to a path of ASCII letters, or do without --temp and --queue"
        yield Finding("folder", "problem", found, remedy)
    yield from _check_dvc()


def check_project() -> Check[None]:
    """Is the installed hlclip the version that a project asks for?"""
    try:
        check_version()
    except HlclipError as error:
        yield Finding("version", "problem", error.reason, error.remedy())
    except FileNotFoundError:  # a clone: its stages depend on the code
        return


def check_last_run(params: Params) -> Check[None]:
    """Do the parameters differ from those of the last run, and was it one run?"""
    path = Path(LOCK_FILE)
    if not path.exists():
        return
    try:
        lock = read_lock(path)
    except DamagedFileError as error:
        yield Finding("last run", "problem", error.reason, error.remedy())
        return
    values, last = flat(params.model_dump()), dict(lock.params)
    if (root := last.get("data.root")) != params.data.root:
        yield Finding("last run", "note", f"it was on other data, {root}")
        return
    null = [key for key in last if key.startswith("data.annotations.") and last[key] is None]
    if null:  # `Params` leaves these splits out
        splits = last.get("evaluate.splits", [])
        last["evaluate.splits"] = [s for s in splits if f"data.annotations.{s}" not in null]
    differing = [
        f"{key} = {values.get(key)}, in the last run {last.get(key)}"
        for key in sorted(values.keys() | last.keys())
        if values.get(key) != last.get(key)
    ]
    found = []
    if lock.mixed:
        found.append(f"the stages in {path} are of several runs: `dvc repro` makes one")
    if differing:
        found.append(
            f"{len(differing)} parameters are not those of the last run: if you did not set them, "
            "a `dvc exp run` that failed or ran next to another left them, and "
            "`git checkout -- params.yaml` takes the committed ones back"
        )
    if found:
        yield Finding("last run", "note", "; ".join(found), names=[*lock.mixed, *differing])
    else:
        yield Finding("last run", "ok", "it had these parameters")


def _check_dvc() -> Check[None]:
    missing = [name for name in (".dvc", "dvc.yaml") if not Path(name).exists()]
    if missing:
        remedy = (
            "run it in the folder that holds dvc.yaml, after `dvc init` if .dvc is missing; "
            "`hlclip init FOLDER` makes a project"
        )
        yield Finding("DVC", "problem", f"no {' and no '.join(missing)} here", remedy)
        return
    try:
        held = json.loads(_RWLOCK.read_bytes()) if _RWLOCK.exists() else {}
        reading = [info for infos in held.get("read", {}).values() for info in infos]
        holders = {info["pid"]: info["cmd"] for info in [*held.get("write", {}).values(), *reading]}
    except (ValueError, LookupError, TypeError, AttributeError):
        found = f"a DVC that was killed left {_RWLOCK} damaged"
        yield Finding("DVC", "problem", found, f"`rm {_RWLOCK}`, if DVC is not running")
        return
    # DVC itself forgets holders that were killed.
    running = [f"`{cmd}` (process {pid})" for pid, cmd in holders.items() if psutil.pid_exists(pid)]
    if running:
        found = f"{', '.join(running)} is running here"
        yield Finding("DVC", "note", found, "wait for its end, or use --temp or --queue")
    else:
        yield Finding("DVC", "ok", "no other run is active in this folder")


def _is_known(key: str) -> bool:
    """Whether DVC finds a name or email of author and committer, in git's config or environment."""
    name = key.removeprefix("user.").upper()
    variables = [f"GIT_{who}_{name}" for who in ("AUTHOR", "COMMITTER")]
    return _git_answers("config", key) or all(os.environ.get(variable) for variable in variables)


def _git_answers(*arguments: str) -> bool:
    try:
        return bool(git_output(*arguments).strip())
    except subprocess.CalledProcessError:
        return False
