"""requirements.txt of a project: which installed versions it allows."""

from importlib.metadata import version
from pathlib import Path

import pytest

from hlclip.formats import check_version
from hlclip.system import HlclipError

INSTALLED = version("hlclip")


@pytest.mark.parametrize(
    "line",
    [
        f"hlclip=={INSTALLED}",
        f"hlclip[s3]=={INSTALLED}  # of this project",
        "hlclip",
        "hlclip>=0.0.1",
        "numpy==0.0.1",
        "-r other.txt",
        "",
    ],
)
def test_an_allowed_version_passes(line: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"# what this project needs\n{line}\n")
    check_version(path)


@pytest.mark.parametrize("name", ["hlclip", "HLclip", "hlclip[s3] "])
def test_another_version_is_refused_with_both_numbers(name: str, tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text(f"-r other.txt\n\n{name}==999.1\n")
    with pytest.raises(HlclipError) as caught:
        check_version(path)
    assert caught.value.reason == f"{path}: expected hlclip==999.1, installed is {INSTALLED}"
    assert f"write hlclip=={INSTALLED} there" in caught.value.remedy()


def test_an_absent_file_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_version(tmp_path / "requirements.txt")
