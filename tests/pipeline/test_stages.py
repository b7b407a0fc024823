"""dvc.yaml says what the stages really read, and a stage is a recipe card."""

import ast
import hashlib
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
STAGES = ("index", "frames", "activations", "train", "score", "evaluate")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("hlclip", "stages", exclude_type_checking_imports=True, cache_dir=None)


@pytest.fixture(scope="module")
def pipeline() -> dict:
    return YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]


def test_the_pipeline_has_the_six_stages_in_order(pipeline: dict):
    assert tuple(pipeline) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_code_deps_are_what_the_stage_imports(stage: str, imports, pipeline: dict):
    modules = imports.find_upstream_modules(f"stages.{stage}") | {f"stages.{stage}"}
    files = {f"{module.replace('.', '/')}.py" for module in modules - {"hlclip", "stages"}}
    listed = {dep for dep in pipeline[stage]["deps"] if dep.endswith(".py")}
    assert listed == files


def test_code_deps_of_the_sample_are_what_it_imports():
    graph = grimp.build_graph("hlclip", "sample", cache_dir=None)
    modules = graph.find_upstream_modules("sample.render") | {"sample.render"}
    files = {f"{module.replace('.', '/')}.py" for module in modules - {"hlclip", "sample"}}
    render = YAML(typ="safe", pure=True).load(ROOT / "sample/dvc.yaml")["stages"]["render"]
    assert set(render["deps"]) == files


def test_the_lock_of_the_sample_is_of_this_code():
    # Otherwise its videos are drawn anew for everyone who clones, and the lock changes.
    render = YAML(typ="safe", pure=True).load(ROOT / "sample/dvc.lock")["stages"]["render"]
    locked = {dep["path"]: dep["md5"] for dep in render["deps"]}
    now = {
        path: hashlib.md5((ROOT / path).read_bytes(), usedforsecurity=False).hexdigest()
        for path in locked
    }
    assert now == locked, "run `dvc repro` and commit sample/dvc.lock"


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
