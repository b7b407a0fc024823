"""The README's own sequence in a fresh clone, whose committed dvc.lock is of another machine."""

import re
import shutil

import pytest

from tests.docs import ROOT, experiments
from tests.e2e.conftest import Project

pytestmark = pytest.mark.slow

COMPUTED = r"(path: (?:metrics\.json|outputs/(?!index|frames).*)\n +hash: md5\n +md5: )"
"""Before the md5 of each output that differs between processors, in dvc.lock."""


def demo() -> list[str]:
    """The commands of `make demo`, without the installation."""
    (recipe,) = re.findall(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    return [line.strip() for line in recipe.splitlines()]


@pytest.fixture(scope="module")
def clone(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("fresh")
    other = finished.copy(folder / "other machine")
    lock = other.root / "dvc.lock"
    text, changed = re.subn(rf"{COMPUTED}\w\w", r"\g<1>00", lock.read_text())
    assert changed >= 10
    lock.write_text(text)
    shutil.copytree(ROOT / ".dvc/plots", other.root / ".dvc/plots")
    other.commit()
    other.run("git", "clone", "-q", ".", str(folder / "clone"))
    project = Project(folder / "clone", finished.data)
    for key in ("user.name", "user.email"):
        project.run("git", "config", key, "reader")
    shutil.copytree(finished.root / ".hlclip/store", project.root / ".hlclip/store")
    return project


def test_every_command_works_in_the_order_of_the_readme(clone: Project):
    said: dict[str, str] = {}
    for command in [*demo(), *experiments().splitlines()[1:], *demo()]:  # without the activation
        said[command.split("#")[0].strip()] = clone.run("bash", "-c", command, COLUMNS="100")
        if command == "hlclip table" and len(said) <= len(demo()):
            assert "DVC's cache lacks its outputs/figures.json" in said[command]
    diff = said["dvc metrics diff"].splitlines()
    assert len(diff) <= 7
    assert not [line for line in diff[1:] if "-" in line.split()[2:]]  # HEAD has figures
    (show,) = (text for command, text in said.items() if command.startswith("dvc exp show"))
    assert "val.mAP" in show
    assert "pool.window" in show
    assert max(map(len, show.splitlines())) <= 100
    assert "pool.window = 3, not 7" in said["hlclip table"]
    assert "mean of 7 clips" in (clone.root / "outputs/report.html").read_text()
    assert clone.run("git", "status", "--short").split() == ["M", "dvc.lock", "M", "params.yaml"]
