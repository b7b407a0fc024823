"""Make a project, whole or not at all."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hlclip.project.content import project_files
from hlclip.system import HlclipError, git_output, make_folder, write_whole


@dataclass(frozen=True)
class NewProject:
    folder: Path
    data: Path
    repository: Path | None
    """The folder of its git repository, which may be above; None: git is not installed."""


def make_project(folder: Path, preset: str, data: Path | None = None) -> NewProject:
    """Write the files of a project, and make its git repository unless it is within one.

    What a killed call left is completed by the next one: a file with the same content is no
    obstacle.

    Args:
        folder: is made if it does not exist; other files may lie in it.
        data: folder of the data set. Default: `data` in the project, which is made.

    Raises:
        HlclipError: there is no such preset; files of these names exist; git refuses.
        WriteError: the folder cannot be written.
    """
    folder = folder.absolute()
    place = (folder / "data" if data is None else data).absolute()
    files = project_files(preset, place)
    existing = [name for name, content in files.items() if _differs(folder / name, content)]
    if existing:
        raise HlclipError(
            f"{folder}: {', '.join(existing)} exist already; nothing was written",
            "name another folder, or move them away",
        )
    above = (folder, *folder.parents)
    repository = next((each for each in above if (each / ".git").exists()), None)
    initialise = repository in (None, folder) and shutil.which("git") is not None
    made: list[Path] = []
    try:
        _write(folder, files, made)
        if data is None:
            for name in ("annotations", "videos"):
                _make_folders(place / name, made)
        if initialise:  # also where a killed call did only a part of it: git completes that
            made += [folder / ".git"] if repository is None else []
            git_output("init", "--quiet", folder=folder)
    except BaseException as error:
        for path in reversed(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if isinstance(error, subprocess.CalledProcessError):
            raise HlclipError(f"git init: {error.stderr.strip()}", "correct that") from error
        raise
    return NewProject(folder, place, folder if initialise else repository)


def _differs(path: Path, content: bytes) -> bool:
    """Whether something else than a file with this content has the name."""
    return os.path.lexists(path) and not (path.is_file() and path.read_bytes() == content)


def _write(folder: Path, files: Mapping[str, bytes], made: list[Path]) -> None:
    for name, content in files.items():
        path = folder / name
        _make_folders(path.parent, made)
        if not path.exists():
            made.append(path)
            write_whole(path, content)


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder, and note the ones that were not there."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    made.extend(reversed(new))
    make_folder(folder)
