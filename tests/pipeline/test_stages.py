"""dvc.yaml lists the code that each stage runs, and a stage is a recipe card."""

import ast
import hashlib
import json
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
STAGES = ("index", "frames", "activations", "train", "score", "evaluate")

DOCSTRINGS_ONLY = {"hlclip", "hlclip.pipeline", "stages"}
"""Packages whose `__init__` adds nothing to what a stage computes."""


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("hlclip", "stages", exclude_type_checking_imports=True, cache_dir=None)


@pytest.fixture(scope="module")
def pipeline() -> dict:
    return YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]


def test_the_pipeline_has_the_six_stages_in_order(pipeline: dict):
    assert tuple(pipeline) == STAGES


def test_every_stage_but_score_keeps_its_outputs_until_it_has_new_ones(pipeline: dict):
    assert pipeline["score"]["outs"] == ["outputs/score.safetensors"]
    for stage in set(STAGES) - {"score"}:
        for out in [*pipeline[stage]["outs"], *pipeline[stage].get("metrics", [])]:
            assert list(out.values()) == [{"persist": True}], out


def test_a_wrong_parameter_of_score_ends_a_stage_that_keeps_its_outputs(pipeline: dict):
    before = STAGES[: STAGES.index("score")]
    read = {name for stage in before for name in pipeline[stage]["params"]}
    assert {name.split(".")[0] for name in pipeline["score"]["params"]} <= read


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str, imports, pipeline: dict):
    files = imported_files(imports, f"stages.{stage}")
    listed = [dep for dep in pipeline[stage]["deps"] if dep.startswith(("hlclip", "stages"))]
    assert_covered(files, listed)


def test_dvc_sees_the_wings_that_stages_import_and_no_other(imports):
    lines = (ROOT / ".dvcignore").read_text().splitlines()
    ignored = {line.removeprefix("/hlclip/") for line in lines if line.startswith("/hlclip/")}
    wings = {path.parent.name for path in (ROOT / "hlclip").glob("*/__init__.py")}
    files = set().union(*(imported_files(imports, f"stages.{stage}") for stage in STAGES))
    imported = {file.split("/")[1] for file in files if file.count("/") == 2}
    assert imported | {"pipeline"} == wings - ignored
    assert ignored <= wings


def test_the_sample_depends_on_the_code_that_it_imports():
    graph = grimp.build_graph("hlclip", "sample", cache_dir=None)
    render = YAML(typ="safe", pure=True).load(ROOT / "sample/dvc.yaml")["stages"]["render"]
    files = [imported_files(graph, command.split()[-1]) for command in render["cmd"]]
    model = {"sample/model", "sample/gap.safetensors"}  # read, not imported
    code = [dep for dep in render["deps"] if dep not in model]
    assert_covered(set().union(*files) - {"sample/__init__.py"}, code)


def test_the_lock_of_the_sample_is_of_this_code():
    # Otherwise its videos are drawn again for everyone who clones, and the lock changes.
    read = YAML(typ="safe", pure=True).load
    stage = read(ROOT / "sample/dvc.yaml")["stages"]["render"]
    lock = read(ROOT / "sample/dvc.lock")["stages"]["render"]
    locked = {dep["path"]: dep["md5"] for dep in lock["deps"]}
    now = {path: md5(ROOT / path) for path in stage["deps"]}
    assert (lock["cmd"], locked) == (stage["cmd"], now), (
        "run `dvc repro` and commit sample/dvc.lock"
    )
    assert [out["path"] for out in lock["outs"]] == stage["outs"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_short_and_straight(stage: str):
    source = (ROOT / "stages" / f"{stage}.py").read_text()
    assert len([line for line in source.splitlines() if line.strip()]) <= 40
    loops = (ast.For, ast.While, ast.comprehension)
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, loops)]


@pytest.mark.parametrize("heavy", ["torch", "h5py", "open_clip"])
def test_evaluating_imports_nothing_heavy(heavy: str):
    graph = grimp.build_graph(
        "hlclip",
        "stages",
        include_external_packages=True,
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    for module in ("stages.evaluate", "hlclip.cli.evaluate"):
        assert heavy not in graph.find_upstream_modules(module)


def imported_files(graph: grimp.ImportGraph, module: str) -> set[str]:
    """Files of a module and of all that it imports, function-level imports included."""
    modules = graph.find_upstream_modules(module) | {module}
    paths = [Path(name.replace(".", "/")) for name in modules - DOCSTRINGS_ONLY]
    return {
        str(path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py"))
        for path in paths
    }


def assert_covered(files: set[str], listed: list[str]) -> None:
    """Every file is listed or lies in a listed folder, and nothing is listed in vain."""
    covered = {dep: {f for f in files if f == dep or f.startswith(f"{dep}/")} for dep in listed}
    assert files - set().union(*covered.values()) == set()
    assert [dep for dep in listed if not covered[dep]] == []


def md5(path: Path) -> str:
    """The hash that DVC has of a file, or of a folder of code."""
    if path.is_dir():
        files = [p for p in sorted(path.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
        entries = [{"md5": md5(p), "relpath": p.relative_to(path).as_posix()} for p in files]
        return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
