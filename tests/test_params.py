"""`params.yaml` is complete and checked: every slip is a `ParamsError` that names its key."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from hlclip.evaluation.moments import OVERLAPS
from hlclip.params import ParamsError, load_params

FILE = Path(__file__).parent.parent / "params.yaml"
CONTENT: dict[str, Any] = YAML(typ="safe", pure=True).load(FILE)
Key = tuple[str, ...]


def walk(content: dict[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every key of the file with its value, sections included."""
    for name, value in content.items():
        yield (*prefix, name), value
        if isinstance(value, dict):
            yield from walk(value, (*prefix, name))


KEYS = dict(walk(CONTENT))
LEAVES = {key: value for key, value in KEYS.items() if not isinstance(value, dict)}
SECTIONS = [(), *(key for key, value in KEYS.items() if isinstance(value, dict))]
FREE_TEXT = {
    ("data", "root"),
    ("data", "annotations", "train"),
    ("data", "annotations", "val"),
    ("data", "annotations", "test"),
    ("data", "videos"),
    ("encoder", "model"),
    ("encoder", "pretrained"),
}
"""Texts that are no choice among words; none may be empty."""


def changed(*changes: tuple[Key, Any]) -> dict[str, Any]:
    content = copy.deepcopy(CONTENT)
    for (*path, last), value in changes:
        section = content
        for name in path:
            section = section[name]
        section[last] = value
    return content


def error(path: Path, content: Any) -> str:
    """Load `content` and give the message of the error that must follow."""
    file = path / "params.yaml"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(ParamsError) as caught:
        load_params(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def dotted(key: Key) -> str:
    return ".".join(key)


def test_the_repositorys_own_file_loads() -> None:
    params = load_params(FILE)
    loaded = dict(walk(params.model_dump()))
    assert loaded == KEYS  # every key, no other, and each value as it stands there


@pytest.mark.parametrize("rule", [*OVERLAPS, "best"])
def test_every_rule_for_moments_is_a_value(tmp_path: Path, rule: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(json.dumps(changed((("moments", "rule"), rule))))
    assert load_params(file).moments.rule == rule


@pytest.mark.parametrize("key", KEYS, ids=dotted)
def test_missing_key(tmp_path: Path, key: Key) -> None:
    content = copy.deepcopy(CONTENT)
    section = content
    for name in key[:-1]:
        section = section[name]
    del section[key[-1]]
    # A split need not be there; it is then missed by what reads it.
    expected = "data.annotations" if key[:2] == ("data", "annotations") else dotted(key)
    assert expected in error(tmp_path, content)


@pytest.mark.parametrize("section", SECTIONS, ids=dotted)
def test_unknown_key(tmp_path: Path, section: Key) -> None:
    assert dotted((*section, "lrr")) in error(tmp_path, changed(((*section, "lrr"), 1)))


@pytest.mark.parametrize("wrong", [{"a": 1}, [{"a": 1}], True], ids=["mapping", "list", "boolean"])
@pytest.mark.parametrize("key", LEAVES, ids=dotted)
def test_wrong_type(tmp_path: Path, key: Key, wrong: Any) -> None:
    assert dotted(key) in error(tmp_path, changed((key, wrong)))


@pytest.mark.parametrize("key", sorted(KEYS.keys() - LEAVES.keys()), ids=dotted)
def test_a_section_that_is_none(tmp_path: Path, key: Key) -> None:
    assert dotted(key) in error(tmp_path, changed((key, None)))


def wrong_values() -> Iterator[tuple[Key, Any]]:
    for key, value in LEAVES.items():
        if isinstance(value, str) or value is None:
            yield key, "" if key in FREE_TEXT else "no such choice"
            if key[0] == "data":
                yield key, "a\0b"  # no path of the system can be
            yield key, 3
        elif isinstance(value, list):
            yield key, []
            yield key, ["no such choice"]
        else:
            yield from ((key, wrong) for wrong in (float("inf"), float("nan"), "3"))
            if key != ("train", "bias_init"):
                yield key, -1
    yield ("data", "clip_seconds"), 0
    yield ("data", "max_missing"), 1.01
    yield ("frames", "size"), 0
    yield ("frames", "size"), 4097
    yield ("encoder", "batch"), 0
    yield ("train", "lr"), 0
    yield ("train", "epochs"), 0
    yield ("train", "epochs"), 1.5
    yield ("train", "batch"), 0
    yield ("train", "device"), "cuda:"
    for name in ("lr", "scale_lr", "scale_init", "bias_init", "weight_decay"):
        yield ("train", name), 1e300
    for name in ("lr", "scale_lr", "scale_init"):
        yield ("train", name), 1e-300
    yield ("train", "bias_init"), -1e300
    for name in ("batch", "micro_batch", "epochs"):
        yield ("train", name), 10**23
    yield ("encoder", "batch"), 10**23
    yield ("encoder", "cached_blocks"), 10**23
    yield ("train", "warmup"), 1.0
    yield ("train", "ema"), 1.0
    yield ("train", "layer_decay"), 0.0
    yield ("train", "layer_decay"), 1.1
    yield ("train", "contrastive_temperature"), 1e-4
    yield ("train", "select_window"), "best"
    for name in ("temporal_width", "temporal_kernel", "temporal_depth"):
        yield ("train", name), 0
    yield ("train", "temporal_width"), 4097
    yield ("train", "temporal_kernel"), 4
    yield ("train", "temporal_kernel"), 77
    yield ("train", "temporal_depth"), 3
    yield ("pool", "window"), 0
    yield ("pool", "sigma"), 1001
    yield ("pool", "sigma"), float("nan")
    yield ("moments", "rule"), "otsu"
    yield ("moments", "focus"), 101


@pytest.mark.parametrize(("key", "wrong"), list(wrong_values()), ids=str)
def test_out_of_range(tmp_path: Path, key: Key, wrong: Any) -> None:
    text = json.dumps(changed((key, wrong))).replace("Infinity", ".inf").replace("NaN", ".nan")
    # One problem, of the key as it stands in the file, or of its section.
    name = r"(?:\.|: )".join(map(re.escape, key))
    assert re.fullmatch(rf"\S+: {name}(\[\d\])?:? .*\n.*", error(tmp_path, text))


CENTRED_FIXED = {"loss": "centred", "scale": "fixed", "bias_init": 5.0}
"""A bias has no effect on this loss."""


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ([(("pool", "window"), 4)], ["pool.window: expected an odd number", "got 4"]),
        ([(("pool", "sigma"), -0.5)], ["pool.sigma: expected 0 to 1000 clips, or best; got -0.5"]),
        ([(("pool", "sigma"), True)], ["pool.sigma: expected 0 to 1000 clips, or best; got True"]),
        ([(("train", "scale"), "fixed")], ["train: scale is fixed", "scale_init 1", "literal"]),
        (
            [(("train", k), v) for k, v in CENTRED_FIXED.items()],
            ["train: scale is fixed at scale_init 1 and bias_init 5, which for loss centred"],
        ),
        ([(("train", "scale_init"), 0)], ["train.scale_init: expected a number", "or fit; got 0"]),
        ([(("train", "micro_batch"), "all")], ["train.micro_batch: expected 0 to", "or auto; got"]),
        (
            [(("train", "scale_init"), "fit")],
            ["train: scale_init is fit, but scale is literal", "fixed or learned"],
        ),
        (
            [(("train", "loss"), "correlation"), (("train", "scale"), "learned")],
            ["train: scale is learned, but loss is correlation", "set scale to literal"],
        ),
        ([(("train", "select_window"), 4)], ["train.select_window: expected an odd", "got 4"]),
        ([(("train", "blocks"), 3)], ["train.blocks is 3", "encoder.cached_blocks is 2"]),
        ([(("data", "annotations"), {})], ["data: annotations must name"]),
        (
            [(("data", "annotations"), {"val": "v"}), (("evaluate", "splits"), ["val"])],
            ["data.annotations.train", "train.blocks"],
        ),
        ([(("evaluate", "splits"), ["val", "val"])], ["evaluate.splits repeats"]),
        (
            [(("data", "annotations"), {"train": "t", "val": "v"})],
            ["evaluate.splits names ['test']", "data.annotations"],
        ),
        (
            [(("pool", "window"), "best"), (("evaluate", "splits"), ["test"])],
            ["pool.window is best", "evaluate.splits"],
        ),
        (
            [
                (("pool", "mode"), "gaussian"),
                (("pool", "sigma"), "best"),
                (("evaluate", "splits"), ["test"]),
            ],
            ["pool.sigma is best", "give pool.sigma as a number"],
        ),
        (
            [(("moments", "rule"), "best"), (("evaluate", "splits"), ["test"])],
            ["moments.rule is best", "evaluate.splits"],
        ),
        ([(("encoder", "pretrained"), "openai")], ["encoder: pretrained must be null"]),
        ([(("encoder", "model"), "ViT-B-32")], ["encoder: pretrained must name"]),
        (
            [(("train", "device"), "mps"), (("train", "loss"), "centred")],
            ["device is mps, which has no float64, but loss is centred"],
        ),
        (
            [(("train", "device"), "mps"), (("train", "processes"), 2)],
            ["device is mps, one GPU, but processes is 2"],
        ),
    ],
)
def test_contradictions(tmp_path: Path, changes: list[tuple[Key, Any]], named: list[str]) -> None:
    message = error(tmp_path, changed(*changes))
    assert [text for text in named if text not in message] == []


@pytest.mark.parametrize(("mode", "unread"), [("gaussian", "window"), ("mean", "sigma")])
def test_a_width_that_the_mode_does_not_read_needs_no_val(
    mode: str, unread: str, tmp_path: Path
) -> None:
    path = tmp_path / "params.yaml"
    settings = ((("pool", "mode"), mode), (("pool", unread), "best"))
    path.write_text(json.dumps(changed(*settings, (("evaluate", "splits"), ["test"]))))
    key, width = load_params(path).pool.width
    assert key != unread
    assert isinstance(width, int | float)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    message = error(tmp_path, changed((("train", "lr"), -1), (("pool", "mode"), "x"), (("a",), 1)))
    assert [line.count("params.yaml: ") for line in message.splitlines()] == [1, 1, 1, 0]


@pytest.mark.parametrize(("written", "value"), [("1e-05", 1e-5), ("3E-4", 3e-4), ("1", 1.0)])
def test_numbers_as_dvc_writes_them(tmp_path: Path, written: str, value: float) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(FILE.read_text().replace("lr: 0.0003", f"lr: {written}"))
    assert load_params(file).train.lr == value


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "expected an object of keys and values"),
        ("# nothing but a comment\n", "expected an object of keys and values"),
        ("just text", "expected an object of keys and values"),
        ("- a list\n", "expected an object of keys and values"),
        ("data: [unclosed", "not valid YAML"),
        ("a: 1\na: 2\n", "duplicate key"),
        ("a: 1\n---\nb: 2\n", "not valid YAML"),
        ("[" * 1000, "not valid YAML"),
    ],
)
def test_not_yaml_or_no_mapping(tmp_path: Path, content: str, said: str) -> None:
    assert said in error(tmp_path, content)


def test_not_text(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_a_split_that_is_null_is_not_scored(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(json.dumps(changed((("data", "annotations", "test"), None))))
    params = load_params(file)
    assert [*params.data.annotations] == ["train", "val"]
    assert params.evaluate.splits == ["val"]
    assert "test" not in params.needed_splits
    none_left = [(("data", "annotations", "val"), None), (("evaluate", "splits"), ["val"])]
    assert "evaluate.splits" in error(tmp_path, changed(*none_left))


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_no_file_says_where_to_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParamsError, match=r"cannot be read \(.+\)\nrun this in the folder"):
        load_params(tmp_path / name)


@given(key=st.sampled_from(list(LEAVES)), scalar=st.text())
@example(key=("train", "lr"), scalar="2001-99-99")
@example(key=("train", "lr"), scalar="!!float x")
@example(key=("train", "seed"), scalar='!!int ""')
@example(key=("train", "seed"), scalar="9" * 5000)
@example(key=("train", "heads"), scalar="!!bool z")
@example(key=("encoder", "model"), scalar="&a [*a]")
@example(key=("data", "root"), scalar="2001-12-14t21:59:43.10-99:00")
def test_any_scalar_is_a_value_or_an_error(tmp_path_factory: Any, key: Key, scalar: str) -> None:
    file = tmp_path_factory.mktemp("params") / "params.yaml"
    text = json.dumps(changed((key, "HERE")), indent=1).replace('"HERE"', scalar)
    file.write_bytes(text.encode(errors="surrogatepass"))
    try:
        params = load_params(file)
    except ParamsError:
        return
    assert dict(walk(params.model_dump())).keys() == KEYS.keys()
