"""The wings of hlclip: who imports whom, and what their faces say."""

import ast
import re
from pathlib import Path

import grimp
import pytest

from hlclip.cli import app

ROOT = Path(__file__).parents[1]
WINGS = sorted(face.parent for face in (ROOT / "hlclip").glob("*/__init__.py"))

IMPORTED_BY_NAME = {
    # The names below take seconds to load, so that faces do not import them.
    "hlclip.highlights.drawings",
    "hlclip.highlights.features",
    "hlclip.highlights.film",
    "hlclip.highlights.scenes",
    "hlclip.highlights.summary",
    "hlclip.results.page",
    # A function of this name, which the face exports: the import graph takes it for the room.
    "hlclip.datasets.download",
}
"""Rooms that other wings may import; so are all of hlclip.pipeline, a module for each stage."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("hlclip", "stages", exclude_type_checking_imports=True, cache_dir=None)


def test_stages_import_hlclip_and_not_the_reverse(imports: grimp.ImportGraph):
    stages = {"stages", *imports.find_descendants("stages")}
    importing = {
        name for stage in stages for name in imports.find_modules_that_directly_import(stage)
    }
    assert importing <= stages


def test_wings_import_each_other_from_the_face(imports: grimp.ImportGraph):
    deep = {
        (importer, room)
        for room in imports.find_descendants("hlclip")
        if room.count(".") > 1 and wing(room) != "pipeline" and room not in IMPORTED_BY_NAME
        for importer in imports.find_modules_that_directly_import(room)
        if wing(importer) != wing(room)
    }
    assert deep == set()


def test_few_files_lie_outside_the_wings():
    assert len(list((ROOT / "hlclip").glob("*.py"))) <= 6


@pytest.mark.parametrize("folder", WINGS, ids=lambda folder: folder.name)
def test_a_face_lists_its_rooms(folder: Path):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    listed = re.findall(r"^ *([a-z0-9_]+)  +\S", docstring, re.MULTILINE)
    if folder.name == "cli":  # its face says of the others that each is the command of its name
        listed += [
            command.callback.__name__ for command in app.registered_commands if command.callback
        ]
        listed += [group.name for group in app.registered_groups]
    rooms = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(rooms)


def test_modules_have_at_most_300_lines():
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "hlclip").rglob("*.py")}
    assert {path for path, count in lines.items() if count > 300} == set()


def test_the_pipeline_is_read_on_one_page():
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 120


def wing(module: str) -> str:
    """`store` of `hlclip.store.item_file`; `stages` of `stages.train`."""
    return module.removeprefix("hlclip.").split(".")[0]
