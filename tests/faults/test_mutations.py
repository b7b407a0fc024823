"""Annotations, submissions and parameters that somebody, or a disk, has changed.

Whatever the change: the file is refused with a message, or it is read as what it now says; nothing
of it is dropped in silence, and nothing raises anything but `HlclipError`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from hlclip.evaluation.metrics import evaluate, ground_truth
from hlclip.formats.annotations import Annotation, read_annotations
from hlclip.formats.submissions import read_answers
from hlclip.params import load_params
from hlclip.system.errors import HlclipError

ROOT = Path(__file__).parents[2]
LINES = [
    {
        "qid": qid,
        "query": f"a dog {qid}",
        "vid": f"v_{qid}_0.0_10.0",
        "duration": 10,
        "relevant_clip_ids": [0, 3],
        "saliency_scores": [[4, 4, 3], [1, 2, 0]],
        "relevant_windows": [[0, 2], [6, 8.5]],
    }
    for qid in (1, 2, "three")
]
PREDICTED = [
    {key: line[key] for key in ("qid", "query", "vid")}
    | {"pred_saliency_scores": [0.1, 0.2, -0.5, 1e-3, 0.25]}
    for line in LINES
]
PARAMS = (ROOT / "params.yaml").read_text()

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 6),
    st.sampled_from([10**9, 10**18, 10**30, -(10**30), 1e308, 1e-308, -0.0, 2.5]),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(["", " ", "1", "null", "\0", "\u200b", "../v", "ü", "a" * 300]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)


def as_bytes(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def leaves(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in JSON, containers too."""
    inner = enumerate(content) if isinstance(content, list) else ()
    inner = content.items() if isinstance(content, dict) else inner
    return [at, *(path for key, value in inner for path in leaves(value, (*at, key)))]


def change(content: Any, path: tuple[Any, ...], value: Any, how: str) -> Any:
    """A copy of `content` in which what lies at `path` is replaced, gone or doubled."""
    copy = json.loads(json.dumps(content))
    if not path:
        return value
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    if how == "replace":
        parent[path[-1]] = value
    elif how == "remove":
        del parent[path[-1]]
    elif isinstance(parent, list):
        parent.append(parent[path[-1]])
    else:
        parent[f"{path[-1]}_"] = parent[path[-1]]
    return copy


HOW = st.sampled_from(["replace", "replace", "remove", "double"])
EDITS = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(0, 3),
        st.sampled_from(
            [
                *(b"\0", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"\r\n", b"\n"),
                *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"9" * 40, b"9" * 5000, b"e999"),
                *(b"NaN", b"-Infinity", b"true", b"1.5", b"\\u0000", b"\\ud800", b'"qid": 1, '),
                *(b"[" * 3000, b'{"a":' * 300, b"&a ", b"*a ", b"!!python/object:os.x ", b"- "),
                *(b"\xe2\x80\xa8", b"\x85", b"\t", b"# ", b"---\n", b"%YAML 9\n", b"<<: "),
            ]
        ),
    ),
    min_size=1,
    max_size=3,
)


def edited(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for anywhere, length, put in edits:
        at = anywhere % (len(content) + 1)
        content = content[:at] + put + content[at + length :]
    return content


def is_short(error: HlclipError) -> None:
    assert 0 < len(str(error)) < 20_000


def reads_as_written(path: Path, content: bytes) -> None:
    """Each line is a row with exactly what the line says, or the file is refused."""
    path.write_bytes(content)
    try:
        rows = read_annotations(path)
    except HlclipError as error:
        is_short(error)
        return
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    assert len(rows) == len(lines)
    assert len({row.qid for row in rows}) == len(rows)
    assert len({row.saliency_scores is None for row in rows}) == 1
    for row, line in zip(rows, lines, strict=True):
        said = json.loads(line, object_pairs_hook=each_once)
        for name, field in Annotation.model_fields.items():
            got = json.loads(json.dumps(getattr(row, name)))
            default = None if field.is_required() else json.loads(json.dumps(field.default))
            assert got == said.get(name, default)
            assert not isinstance(said.get(name), bool)


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@given(choice=st.integers(0, 10**6), value=VALUES, how=HOW)
def test_a_changed_annotation(
    tmp_path_factory: pytest.TempPathFactory, choice: int, value: Any, how: str
) -> None:
    paths = leaves(LINES)
    changed = change(LINES, paths[choice % len(paths)], value, how)
    rows = changed if isinstance(changed, list) else [changed]
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    reads_as_written(path, as_bytes(rows))


@given(edits=EDITS)
@example(edits=[(1, 0, b'"qid": 1, ')])  # a key twice
@example(edits=[(0, 0, b"\xff\xfe")])
@example(edits=[(0, 0, b"[" * 200_000)])
def test_changed_bytes_of_annotations(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.jsonl"
    reads_as_written(path, edited(as_bytes(LINES), edits))


def measured(truth_path: Path, path: Path) -> int | None:
    """Queries that the figures are of, None where they are refused."""
    try:
        queries = read_annotations(truth_path)
        truth = ground_truth(queries)
        rows = read_answers(path, queries)
        scores = [row.pred_saliency_scores for row in rows if row.pred_saliency_scores]
        windows = [row.pred_relevant_windows for row in rows if row.pred_relevant_windows]
        evaluate(truth, scores=scores or None, windows=windows or None)
    except HlclipError as error:
        is_short(error)
        return None
    assert len(scores) in (0, len(truth.qids))
    assert len(windows) in (0, len(truth.qids))
    return len(rows)


@pytest.fixture(scope="module")
def truth_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("truth") / "truth.jsonl"
    path.write_bytes(as_bytes(LINES))
    return path


@given(choice=st.integers(0, 10**6), value=VALUES, how=HOW)
def test_a_changed_submission(truth_path: Path, choice: int, value: Any, how: str) -> None:
    paths = leaves(PREDICTED)
    changed = change(PREDICTED, paths[choice % len(paths)], value, how)
    path = truth_path.with_name("changed.jsonl")
    path.write_bytes(as_bytes(changed if isinstance(changed, list) else [changed]))
    assert measured(truth_path, path) in (None, len(LINES))


@given(edits=EDITS)
def test_changed_bytes_of_a_submission(
    truth_path: Path, edits: list[tuple[int, int, bytes]]
) -> None:
    path = truth_path.with_name("changed.jsonl")
    path.write_bytes(edited(as_bytes(PREDICTED), edits))
    assert measured(truth_path, path) in (None, len(LINES))


def parameters_as_written(path: Path) -> None:
    try:
        params = load_params(path)
    except HlclipError as error:
        is_short(error)
        return
    said = YAML(typ="safe", pure=True).load(path.read_bytes().decode())
    lacking = [split for split, name in said["data"]["annotations"].items() if name is None]
    for split in lacking:  # null says that the data set lacks the split
        del said["data"]["annotations"][split]
    said["evaluate"]["splits"] = [s for s in said["evaluate"]["splits"] if s not in lacking]
    assert as_floats(params.model_dump(mode="json")) == as_floats(said)


def as_floats(content: Any) -> Any:
    """A whole number may be said where a float is meant: 10**30 is read as 1e30."""
    return json.loads(json.dumps(content), parse_int=float)


@given(choice=st.integers(0, 10**6), value=VALUES, how=HOW)
def test_changed_parameters(
    tmp_path_factory: pytest.TempPathFactory, choice: int, value: Any, how: str
) -> None:
    said = YAML(typ="safe", pure=True).load(PARAMS)
    paths = leaves(said)
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(change(said, paths[choice % len(paths)], value, how), file)
    parameters_as_written(path)


@given(edits=EDITS)
def test_changed_bytes_of_parameters(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "params.yaml"
    path.write_bytes(edited(PARAMS.encode(), edits))
    parameters_as_written(path)


def test_a_bomb_of_aliases_costs_neither_time_nor_memory(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    bomb = PARAMS.replace("local-dir:sample/model", "*a11")
    (tmp_path / "params.yaml").write_text("\n".join([*lines, bomb]))
    program = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
from hlclip.params import ParamsError, load_params
try:
    load_params(sys.argv[1])
except ParamsError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "params.yaml")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # Lists within lists are cut short; whole they would take 9^11 letters.
    assert "encoder.model: got [[[" in said
    assert "..., expected a valid string\n" in said
    assert len(said) < 5000


def test_a_tag_makes_no_object(tmp_path: Path) -> None:
    path, touched = tmp_path / "params.yaml", tmp_path / "touched"
    call = f"!!python/object/apply:os.system ['touch {touched}']"
    path.write_text(PARAMS.replace("seed: 0", f"seed: {call}"))
    with pytest.raises(HlclipError, match="not valid YAML"):
        load_params(path)
    assert not touched.exists()


def test_a_video_of_a_thousand_years_is_refused_before_memory_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(as_bytes([LINES[0] | {"duration": 3.2e10}]))
    with pytest.raises(HlclipError, match=r"duration: got 3\.2e\+10, expected 1 to 100000 clips"):
        read_annotations(tmp_path / "a.jsonl")


def test_a_file_that_is_only_half_rated_is_refused(tmp_path: Path) -> None:
    # Its split would be taken for a blind one, and not be measured at all.
    blind = {k: v for k, v in LINES[1].items() if k not in ("relevant_clip_ids", "saliency_scores")}
    (tmp_path / "a.jsonl").write_bytes(as_bytes([LINES[0], blind]))
    with pytest.raises(HlclipError, match=r"a\.jsonl:2: saliency_scores: got none, .* 1 of 2"):
        read_annotations(tmp_path / "a.jsonl")


def test_a_line_of_a_hundred_megabytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"qid": 1, "query": "' + b"a" * 10**8)
    with pytest.raises(HlclipError) as caught:
        read_annotations(tmp_path / "a.jsonl")
    assert len(str(caught.value)) < 1000
