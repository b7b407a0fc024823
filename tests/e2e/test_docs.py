"""Runs every command of the README and of docs/ that does not say why not, in one real checkout.

The README's experiments are left to `test_readme.py`, which runs them in a fresh clone.
"""

import shutil
import sys
from contextlib import chdir
from pathlib import Path

import pytest

from hlclip import load_scorer
from tests.docs import PAGES, ROOT, SHELL, blocks, experiments
from tests.e2e.conftest import Project
from tests.films import copy, ffmpeg

pytestmark = pytest.mark.slow

RUN = [
    block
    for page in PAGES
    for block in blocks(page)
    if block.reason is None and block.code != experiments()
]
STORIES = list(dict.fromkeys(block.page for block in RUN if block.language in SHELL))
SCRIPTS = list(dict.fromkeys(block.page for block in RUN if block.language == "python"))

FILMS = (
    *("holiday.mp4", "match.mkv", "videos/a.mp4", "more/b.mov"),
    *("mine/videos/a.mp4", "mine/videos/b.mov"),
)
QUERIES = ("a dog on the beach", "people dancing", "a goal", "a sunset", "a dog")


@pytest.fixture(scope="module")
def checkout(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished run and the files that the pages name."""
    project = finished.copy(tmp_path_factory.mktemp("docs") / "project")
    (project.root / ".venv").symlink_to(sys.prefix)
    for name in ("presets", ".dvc/plots"):
        shutil.copytree(ROOT / name, project.root / name)
    for key in ("user.name", "user.email"):  # DVC names the author of an experiment
        project.run("git", "config", key, "reader")
    # The checkpoint names its model by a relative path.
    shutil.copytree(project.data.parent / "model", project.root / "model")
    predictions = project.root / "outputs" / "predictions" / "val-HL-CLIP-2-SP.jsonl"
    copy(predictions, project.root / "predictions.jsonl")
    annotations = project.data / "annotations" / "val.jsonl"
    copy(annotations, project.root / "highlight_val_release.jsonl")
    film = project.root / FILMS[0]
    sound = ("-f", "lavfi", "-i", "sine=d=24")
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=24", *sound, "-g", 10, film)
    for name in FILMS[1:]:
        copy(film, project.root / name)
    with chdir(project.root):  # fills the store, so that each command finds the features there
        scorer = load_scorer(store=project.root / ".hlclip" / "store")
        scorer.score(film, QUERIES)
    project.commit()
    return project


@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.name)
def test_commands_run_as_the_page_goes_on(page: Path, checkout: Project) -> None:
    for block in RUN:
        if block.page == page and block.language in SHELL:
            script = ["bash", "-euxo", "pipefail", "-c", block.code]
            checkout.run(*script, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("page", SCRIPTS, ids=lambda page: page.name)
def test_python_runs_from_top_to_bottom(page: Path, checkout: Project) -> None:
    code = [b.code for b in RUN if b.page == page and b.language == "python"]
    checkout.run("python", "-c", "\n".join(code), PYTHONPATH=str(ROOT))
