"""requirements.txt of a project: the version of hlclip that its outputs belong to."""

from importlib.metadata import version
from pathlib import Path

from hlclip.system import HlclipError

REQUIREMENTS = "requirements.txt"
"""In a project all stages depend on this file, as they depend on the code in the repository."""


def check_version(path: Path = Path(REQUIREMENTS)) -> None:
    """Check that the installed hlclip is one that the file allows.

    A file that does not name hlclip allows every version.

    Raises:
        HlclipError: the file asks for another version.
        OSError: the file cannot be read.
    """
    # Not at the top: every command imports this wing, and few come here.
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 (slow)

    installed = version("hlclip")
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            asked = Requirement(line.split("#")[0])
        except InvalidRequirement:
            continue  # an option of pip, a path, or an empty line
        allowed = asked.specifier.contains(installed, prereleases=True)
        if asked.name.lower() == "hlclip" and not allowed:
            raise HlclipError(
                f"{path}: expected hlclip{asked.specifier}, installed is {installed}",
                f"install that version (`pip install -r {path}`), or write hlclip=={installed} "
                "there: every stage then runs again",
            )
