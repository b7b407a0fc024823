"""`hlclip init` of an installed package: the project runs, and gives what a clone gives."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import Project, stages_run
from tests.wheels import unpacked_wheel

pytestmark = pytest.mark.slow

STAGES = ["index", "frames", "activations", "train", "score", "evaluate"]


def test_a_project_runs_the_installed_stages(finished: Project, tmp_path: Path):
    installed = str(unpacked_wheel(tmp_path))
    here = Project(tmp_path, finished.data)
    here.run(
        "python", "-m", "hlclip", "init", "mine", "--data", str(finished.data), PYTHONPATH=installed
    )
    project = Project(tmp_path / "mine", finished.data)
    assert not list(project.root.rglob("*.py"))
    # The parameters of the clone, whose results are to be compared.
    shutil.copy(finished.root / "params.yaml", project.root)
    assert stages_run(project.run("dvc", "repro", PYTHONPATH=installed)) == STAGES
    assert project.outputs() == finished.outputs()
    assert stages_run(project.run("dvc", "repro", PYTHONPATH=installed)) == []
    project.run("dvc", "plots", "show", PYTHONPATH=installed)  # the templates are there
    # Another version: every stage is to run again, and none runs until that one is installed.
    (project.root / "requirements.txt").write_text("hlclip==999.1\n")
    status = project.run("dvc", "status", PYTHONPATH=installed)
    assert [line.rstrip(":") for line in status.splitlines() if line[:1].strip()] == STAGES
    refused = project.run("dvc", "repro", check=False, PYTHONPATH=installed)
    assert "requirements.txt: expected hlclip==999.1, installed is" in refused
    assert "Traceback" not in refused
    assert project.outputs() == finished.outputs()
