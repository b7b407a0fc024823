"""What git says of a folder."""

import subprocess
from pathlib import Path


def git_output(*arguments: str, folder: Path = Path()) -> str:
    """What a command of git prints; it changes nothing, not even git's index.

    Raises:
        OSError: git is not on PATH.
        subprocess.CalledProcessError: git refuses, for example outside of a repository.
    """
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def is_shallow(folder: Path = Path()) -> bool:
    """Whether the repository has only a part of its history, as after `git clone --depth 1`."""
    return git_output("rev-parse", "--is-shallow-repository", folder=folder).strip() == "true"
