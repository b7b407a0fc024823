"""What is released: the sdist, the wheel, the page on PyPI, the container, the citation."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import BytesParser
from importlib.metadata import version
from pathlib import Path

import pytest
from readme_renderer.markdown import render
from ruamel.yaml import YAML

import hlclip
from tests.wheels import build

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CARRIED = (
    ".dvc/.gitignore", ".dvc/config", ".dvc/plots/", ".dvcignore", ".gitignore", "dvc.yaml",
    "presets/", "stages/",
)  # fmt: skip
"""What the wheel has in hlclip/shipped/."""
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("dist")
    return {path.suffix: path for path in build(out)}


@pytest.fixture(scope="module")
def metadata(released: dict[str, Path]):
    with zipfile.ZipFile(released[".whl"]) as wheel:
        (name,) = [each for each in wheel.namelist() if each.endswith(".dist-info/METADATA")]
        return BytesParser().parsebytes(wheel.read(name))


def repository(*paths: str) -> set[str]:
    """Files of the repository below these paths."""
    found: list[Path] = []
    for path in paths:
        found += [ROOT / path] if (ROOT / path).is_file() else (ROOT / path).rglob("*")
    files = {each.relative_to(ROOT) for each in found if each.is_file()}
    return {str(each) for each in files if "__pycache__" not in each.parts}


def content(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_wheel_holds_the_package_and_what_projects_need(released: dict[str, Path]):
    shipped = {f"hlclip/shipped/{name}" for name in repository(*CARRIED)}
    assert content(released[".whl"]) == repository("hlclip") | shipped
    assert released[".whl"].stat().st_size < MEGABYTE


def test_the_sdist_holds_the_wheels_files_and_the_docs(released: dict[str, Path]):
    with tarfile.open(released[".gz"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    more = ("CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt")
    paths = ("hlclip", "docs", "pyproject.toml", *CARRIED, *more)
    assert names == repository(*paths) | {"PKG-INFO"}
    assert released[".gz"].stat().st_size < 2 * MEGABYTE


def test_twine_finds_nothing(released: dict[str, Path]):
    command = [sys.executable, "-m", "twine", "check", "--strict", *released.values()]
    subprocess.run(command, check=True, capture_output=True)


def test_the_page_on_pypi_is_the_readme_without_links_that_lead_nowhere(metadata):
    page = metadata.get_payload(decode=True).decode()
    html = render(page)
    assert html is not None
    targets = re.findall(r"(?:href|src)=\"([^\"]*)\"", html)
    assert targets
    assert [each for each in targets if not each.startswith(("https://", "#"))] == []
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert html.count("<h2") == len(re.findall("^## ", readme, re.MULTILINE))
    assert html.count("<table") == len(re.findall(r"^\|[-|]+\|$", readme, re.MULTILINE))
    assert html.count("<pre") == readme.count("```") // 2
    # Nothing but the picture and its caption is left out.
    for text in re.findall(r"^[A-Z][^`*\[\]|\n]{60,}$", readme, re.MULTILINE):
        assert text in page
    for name in re.findall(r"^\| \[(docs/[\w.-]+)\]", readme, re.MULTILINE):
        assert f"| {name} |" in page


def test_the_version_is_that_of_pyproject_everywhere(metadata):
    number = PYPROJECT["project"]["version"]
    citation = YAML(typ="safe", pure=True).load(ROOT / "CITATION.cff")
    assert metadata["Version"] == number
    assert citation["version"] == number
    assert citation["license"] == PYPROJECT["project"]["license"]
    assert hlclip.__version__ == version("hlclip")
    assert "__version__" in dir(hlclip)


def test_the_citation_is_valid():
    schema = ["--builtin-schema", "vendor.citation-file-format", ROOT / "CITATION.cff"]
    subprocess.run([sys.executable, "-m", "check_jsonschema", *schema], check=True)


def test_the_container_copies_what_its_installation_needs(
    released: dict[str, Path], tmp_path: Path
):
    """The image itself is not built: that needs a daemon and the network."""
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copied = [words[1:-1] for words in map(str.split, lines) if words[:1] == ["COPY"]]
    sources = {name for names in copied for name in names if not name.startswith(("--", "/"))}
    ignoring = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in ignoring if line.startswith("!")} == sources
    for name in repository(*sources):
        (tmp_path / "context" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "context" / name).write_bytes((ROOT / name).read_bytes())
    (wheel,) = build(tmp_path / "dist", "--wheel", source=tmp_path / "context")
    assert content(wheel) == content(released[".whl"])
    extras = re.findall(r'"\.\[([\w,]+)\]"', "\n".join(lines))[0].split(",")
    assert set(extras) <= PYPROJECT["project"]["optional-dependencies"].keys()


def test_no_large_file_is_tracked_but_the_bundled_model() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    large = {path.relative_to(ROOT).as_posix() for path in paths if path.stat().st_size > 2**20}
    assert large == {"sample/model/open_clip_model.safetensors"}
