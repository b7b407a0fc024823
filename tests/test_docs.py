"""The docs are true: files, options, parameters and variables exist; tables and trees fit."""

import itertools
import re
import shlex
import tomllib
from typing import Any

import pytest
import typer.main
from ruamel.yaml import YAML

from hlclip.cli import app
from tests.docs import PAGES, ROOT, SHELL, blocks, inline_code, tables

OTHER_PAGES = [ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "sample/README.md")]
MADE = ("sample/data", "sample/model-gap", "bench/results")
"""Folders that commands make; git ignores them."""
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVERYTHING = [block for page in PAGES for block in blocks(page)]
COMMANDS = [block for block in EVERYTHING if block.language in SHELL]
OTHER_TOOLS = {
    *("--temp", "--queue", "--run-all", "--rev", "--force", "--dry", "--all", "--failed"),  # DVC
}


def yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load(ROOT / name)


def parameters() -> set[str]:
    return {f"{section}.{key}" for section, keys in yaml("params.yaml").items() for key in keys}


def test_some_commands_are_run() -> None:
    assert len([block for block in COMMANDS if block.reason is None]) >= 7
    languages = {block.language for block in EVERYTHING}
    assert languages <= {*SHELL, "python", "json", "yaml", "bibtex", "text"}


def test_reasons_stand_above_commands_only() -> None:
    runnable = [b for b in EVERYTHING if b.reason and b.language in (*SHELL, "python")]
    written = sum(page.read_text(encoding="utf-8").count("<!-- not run") for page in PAGES)
    assert len(runnable) == written
    assert all(len(block.reason or "") > 10 for block in runnable)


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.name)
def test_options_and_parameters_of_commands_exist(block) -> None:
    for line in block.code.replace("\\\n", " ").splitlines():
        for words in split_commands(line):
            if words[0] == "hlclip":
                check_options(words[1:])
            if words[:3] == ["dvc", "exp", "run"]:
                settings = [after for word, after in itertools.pairwise(words) if word == "-S"]
                # data.annotations.train is a key of the parameter data.annotations; + adds one.
                keys = [setting.split("=")[0].removeprefix("+") for setting in settings]
                assert {".".join(key.split(".")[:2]) for key in keys} <= parameters()


def split_commands(line: str) -> list[list[str]]:
    words = shlex.split(line, comments=True)
    text = " ".join(shlex.quote(word) if word not in ("&&", "|") else word for word in words)
    return [shlex.split(part) for part in re.split(r" && | \| ", text) if part]


def check_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        words = words[1:]
    known = options(command) | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("-")} <= known, words


def options(command: Any) -> set[str]:
    names = {name for parameter in command.params for name in parameter.opts}
    return names.union(*(options(each) for each in getattr(command, "commands", {}).values()))


def test_options_in_the_text_exist() -> None:
    known = options(typer.main.get_command(app)) | OTHER_TOOLS | {"--help"}
    for page in PAGES:
        code = [text for text in inline_code(page) if text.startswith("-")]
        named = {word for text in code for word in re.findall(r"^--[a-z-]+", text)}
        assert named <= known, (page.name, named - known)


def test_every_page_is_in_the_index_and_in_the_navigation() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]}
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    assert pages - {"index.md"} == set(re.findall(r"\]\(([\w/-]+\.md)\)", index))
    assert pages == set(navigation(yaml("mkdocs.yml")["nav"]))


def navigation(entries: list[Any]) -> list[str]:
    named = [
        [entry] if isinstance(entry, str) else navigation(*entry.values()) for entry in entries
    ]
    return list(itertools.chain(*named))


def test_links_lead_somewhere() -> None:
    missing = []
    for page in (*PAGES, *OTHER_PAGES):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if not (page.parent / target).exists():
                missing.append((page.name, target))
    assert missing == []


def test_anchors_are_headings() -> None:
    for page in (*PAGES, *OTHER_PAGES):
        text = page.read_text(encoding="utf-8")
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", text):
            linked = page.parent / target if target else page
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), (page.name, anchor)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_files_in_the_text_exist() -> None:
    for page in (*PAGES, *OTHER_PAGES):
        if page.name == "log.md":  # its entries name files of their day
            continue
        for text in inline_code(page):
            file = re.match(r"(?:bench|hlclip|presets|sample|stages|tests)/[\w/.-]+", text)
            if file and not text.startswith(MADE):
                assert (ROOT / file[0]).exists(), (page.name, text)


def test_promises_name_the_test_that_holds_them() -> None:
    """Each line of a table of promises ends with a test file, or a command that checks it."""
    promises = [row for table in tables(ROOT / "docs/reliability.md") for row in table[1:]]
    assert len(promises) > 50
    for row in promises:
        assert re.search(r"`tests/[\w/]+\.py`|`make check`|`hlclip/", row[-1]), row


def test_every_dependency_has_a_lower_bound_that_the_makefile_reads() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    extras = project["optional-dependencies"]
    ranges = [*project["dependencies"], *itertools.chain(*extras.values())]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (pattern,) = re.findall(r"sed -nE 's/(.*)/\\1==\\3/p' pyproject\.toml", makefile)
    read = {name for name, *_ in re.findall(pattern, text, re.MULTILINE)}
    named = {re.findall(r"^[\w.-]+", each)[0] for each in ranges}
    assert read == named - {"hlclip"}


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readmes_tree_is_the_real_one() -> None:
    tree = README[README.index("\ndvc.yaml params.yaml") :].split("```")[0]
    folders = re.findall(r"^([a-z]+)/", tree, re.MULTILINE)
    assert all((ROOT / folder).is_dir() for folder in folders)
    wings = re.findall(r"^  ([a-z]+)(?:/|\.py) +\S", tree, re.MULTILINE)
    real = {path.parent.name for path in (ROOT / "hlclip").glob("*/__init__.py")} | {"params"}
    assert sorted(wings) == sorted(real)
    layer = {wing: number for number, wings in enumerate(layers()) for wing in wings}
    assert [layer[wing] for wing in wings] == sorted(layer[wing] for wing in wings)


def test_the_drawing_of_the_wings_is_the_import_contract() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    drawing = page[page.index("\nstages\n") :].split("```")[0]
    assert [line.split(" | ") for line in drawing.split("\n") if line] == [["stages"], *layers()]


def layers() -> list[list[str]]:
    """The import contract of the wings: a list per layer, those that import most first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = [each for each in contracts["contracts"] if each["type"] == "layers"]
    return [layer.split(" | ") for layer in contract["layers"]]


def test_environment_variables_are_explained() -> None:
    page = "\n".join(inline_code(ROOT / "docs/maintaining.md"))
    for folder in ("hlclip", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for name in re.findall(r"[\"$`](HLCLIP_[A-Z_]+)", path.read_text(encoding="utf-8")):
                assert name in page, (path, name)


def test_what_reruns_when_is_what_dvc_says() -> None:
    (table,) = tables(ROOT / "docs" / "experiments.md")
    stages = table[0][1:]
    pipeline = yaml("dvc.yaml")["stages"]
    assert stages == list(pipeline)
    for changed, *cells in table[1:]:
        keys = named_parameters(changed)
        for key in keys:
            reading = [stage for stage in stages if reads(pipeline[stage]["params"], key)]
            assert reading, key
            marked = [stage for stage, cell in zip(stages, cells, strict=True) if cell]
            assert marked[0] == reading[0], (key, reading)
            assert set(reading) <= set(marked), (key, reading)


def named_parameters(text: str) -> list[str]:
    """`encoder.model`, `pretrained` -> both in full; `pool` -> itself."""
    names = re.findall(r"`([a-z_.]+)`", text)
    section = names[0].split(".")[0] if names else ""
    return [name if "." in name or name == section else f"{section}.{name}" for name in names]


def reads(listed: list[str], key: str) -> bool:
    return any(
        name == key or key.startswith(f"{name}.") or name.startswith(f"{key}.") for name in listed
    )
