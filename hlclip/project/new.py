"""Make a project, whole or not at all."""

import os
import shutil
import subprocess
from pathlib import Path

from hlclip.project.content import project_files
from hlclip.system import HlclipError, git_output, make_folder, write_whole


def make_project(folder: Path, preset: str, data: Path) -> Path | None:
    """Write the files of a project, and make its git repository unless it is within one.

    What a killed call left is completed by the next one: a file with the same content is no
    obstacle.

    Args:
        folder: absolute, without `..`; is made if it does not exist, and may hold other files.
        data: folder of the data set, absolute; is made if it lies in the project.

    Returns:
        The folder of the git repository, which may be above; None: git is not installed.

    Raises:
        HlclipError: there is no such preset; files of these names exist; git refuses.
        WriteError: the folder cannot be written.
    """
    files = project_files(preset, data)
    existing = [name for name, content in files.items() if _differs(folder / name, content)]
    if existing:
        raise HlclipError(
            f"{folder}: {', '.join(existing)} exist already; nothing was written",
            "name another folder, or move them away",
        )
    above = (folder, *folder.parents)
    repository = next((each for each in above if (each / ".git").exists()), None)
    made: list[Path] = []
    try:
        for name, content in files.items():
            _make_folders((folder / name).parent, made)
            if not (folder / name).exists():
                made.append(folder / name)
                write_whole(folder / name, content)
        if data.is_relative_to(folder):
            _make_folders(data / "annotations", made)
            _make_folders(data / "videos", made)
        if repository in (None, folder) and shutil.which("git") is not None:
            # Also where a killed call did only a part of it: git completes that.
            made += [folder / ".git"] if repository is None else []
            git_output("init", "--quiet", folder=folder)
            repository = folder
    except BaseException as error:
        for path in reversed(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if isinstance(error, subprocess.CalledProcessError):
            raise HlclipError(f"git init: {error.stderr.strip()}", "correct that") from error
        raise
    return repository


def _differs(path: Path, content: bytes) -> bool:
    """Whether something else than a file with this content has the name."""
    return os.path.lexists(path) and not (path.is_file() and path.read_bytes() == content)


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Make a folder, and note those that were not there."""
    made += reversed([each for each in (folder, *folder.parents) if not each.exists()])
    make_folder(folder)
