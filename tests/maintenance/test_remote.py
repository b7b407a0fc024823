"""Items in object storage, on a real server: whole or absent, whatever breaks on the way."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import boto3
import numpy as np
import pytest
import requests
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.maintenance import bucket
from hlclip.store import Store, content_key
from tests.damage import DAMAGES, a_folder
from tests.s3 import CREDENTIALS, Network, network, real_credentials, serving
from tests.stored import TEXTS, files, paths, put, put_data_set

COMMANDS = ("push", "pull", "status")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving() as url:
        yield url


@pytest.fixture
def way(server: str) -> Iterator[Network]:
    with network(server) as way:
        yield way


@pytest.fixture
def url(way: Network, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in an empty bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
    monkeypatch.setattr(bucket, "RETRIES", 2)
    name = f"bucket-{crc32(request.node.name.encode())}"
    requests.put(f"{way.url}/{name}", timeout=5).raise_for_status()
    return f"s3://{name}/a folder/hlclip"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of which the workspace here names `a` and `b`."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    root = here / ".hlclip/store"
    monkeypatch.setenv("HLCLIP_STORE", str(root))
    put_data_set(root, tmp_path, "unnamed")
    put_data_set(root, here, "a", "b")
    return root


@pytest.fixture
def other(root: Path, tmp_path: Path) -> Path:
    """The empty store of another machine."""
    return tmp_path / "other"


def run(*arguments: str, status: int = 0, store: Path | None = None) -> Result:
    env = {"HLCLIP_STORE": str(store)} if store else {}
    ended = CliRunner().invoke(app, ["store", *arguments], env=env)
    assert ended.exit_code == status, ended.output
    return ended


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in files(root)}


def in_bucket(server: str, url: str) -> dict[str, bytes]:
    """Path below the URL -> content."""
    name, _, folder = url.removeprefix("s3://").partition("/")
    client = boto3.client("s3", endpoint_url=server)
    objects = client.list_objects_v2(Bucket=name, Prefix=f"{folder}/").get("Contents", [])
    return {
        each["Key"].removeprefix(f"{folder}/"): client.get_object(Bucket=name, Key=each["Key"])[
            "Body"
        ].read()
        for each in objects
    }


def replace(server: str, url: str, path: str, content: bytes) -> str:
    """Replace an object; its URL."""
    name, _, folder = url.removeprefix("s3://").partition("/")
    boto3.client("s3", endpoint_url=server).put_object(
        Bucket=name, Key=f"{folder}/{path}", Body=content
    )
    return f"{url}/{path}"


def test_push_and_pull(server: str, url: str, root: Path, other: Path) -> None:
    assert "6 files" in run("push", url).output
    named = {str(path.relative_to(root)) for path in paths(root, "a", "b")}
    assert set(in_bucket(server, url)) == named
    assert "0 files (0 bytes) copied, 6 skipped" in run("push", url).output
    assert "3 files" in run("push", url, "--all").output
    assert in_bucket(server, url) == contents(root)
    assert "6 files" in run("pull", url, store=other).output
    assert contents(other) == {name: contents(root)[name] for name in named}
    assert "0 files (0 bytes) copied, 6 skipped" in run("pull", url, store=other).output
    assert "3 files" in run("pull", f"{url}/", "--all", store=other).output
    assert contents(other) == contents(root)


def test_status(url: str, root: Path, other: Path) -> None:
    assert f"{url}: empty" in run("status", url, store=other).output
    run("push", url)
    put(root, "texts", "new")
    output = run("status", url).output
    assert "6 of 6 items that this workspace names are there" in output
    kind, there, _size, _unit, only_here, only_there = output.splitlines()[-2].split()
    assert (kind, there, only_here, only_there) == ("texts", "2", "2", "0")
    facts = json.loads(run("status", url, "--json", store=other).output)
    assert [kind["to_pull"] for kind in facts["kinds"].values()] == [2, 2, 2]
    assert [kind["to_push"] for kind in facts["kinds"].values()] == [0, 0, 0]


def test_a_disk_is_as_good(root: Path, other: Path, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a%20disk/new"
    assert "9 files" in run("push", url, "--all").output
    assert contents(tmp_path / "a disk/new") == contents(root)
    assert "9 files" in run("pull", url, "--all", store=other).output
    assert contents(other) == contents(root)


def test_a_large_item_travels_in_parts(server: str, url: str, root: Path, other: Path) -> None:
    store = Store(root, "texts", TEXTS)
    array = np.arange(bucket.PART // 2 + 5, dtype=np.uint16).view(np.float16)
    store.get_or_make(content_key(TEXTS, "large"), lambda: array)
    run("push", url, "--all")
    run("pull", url, "--all", store=other)
    assert contents(other) == contents(root)


def damaged(root: Path) -> list[Path]:
    """Items of the store, each damaged in another way, links and folders last."""
    damages = [*DAMAGES, a_folder]
    for damage in damages:
        put(root, "images", damage.__name__)
    found = [*paths(root, *(each.__name__ for each in damages), kinds=("images",))]
    for path, damage in zip(found, damages, strict=True):
        damage(path, np.random.default_rng(0))
    return found


def test_damaged_files_are_not_pushed(server: str, url: str, root: Path) -> None:
    whole = contents(root)
    found = damaged(root)
    result = run("push", url, "--all", status=1)
    left_out = re.findall(r"^left out: (\S+): \S", result.stderr, re.MULTILINE)
    assert sorted(left_out) == sorted(map(str, found))
    assert "9 files" in result.output
    assert in_bucket(server, url) == whole


def test_damaged_objects_are_not_pulled(server: str, url: str, root: Path, other: Path) -> None:
    run("push", url, "--all")
    whole = contents(root)
    names = [
        replace(server, url, str(path.relative_to(root)), path.read_bytes())
        for path in damaged(root)[:-2]
    ]
    result = run("pull", url, "--all", status=1, store=other)
    for name in names:
        assert f"left out: {name}: " in result.stderr
    assert "9 files" in result.output
    assert contents(other) == whole
    assert not list(other.rglob("*.tmp"))


def test_what_the_manifest_does_not_name_is_refused(url: str, root: Path, other: Path) -> None:
    run("push", url)
    (path,) = paths(root, "a", kinds=("images",))
    manifest = root.parents[1] / "outputs/activations.json"
    named = json.loads(manifest.read_text())
    named["images"]["items"]["a"]["digest"] = "0" * 32
    manifest.write_text(json.dumps(named))
    what = "whole, but not what the manifest names"
    assert f"{path.relative_to(root)}: {what}" in run("pull", url, status=1, store=other).stderr
    assert len(files(other)) == 5
    assert f"{path}: {what}" in run("push", f"{url}/2", status=1).stderr


def test_two_sizes_of_one_item_are_named(server: str, url: str, root: Path) -> None:
    run("push", url)
    (path,) = paths(root, "a", kinds=("images",))
    name = replace(server, url, str(path.relative_to(root)), path.read_bytes()[:-1])
    for command in ("push", "pull"):
        result = run(command, url, status=1)
        assert f"left out: {name}: " in result.stderr
        assert "0 files (0 bytes) copied, 5 skipped" in result.output
    assert f"{name}: " in run("status", url).output


def test_named_and_nowhere(url: str, root: Path, other: Path) -> None:
    (path,) = paths(root, "a", kinds=("images",))
    path.unlink()
    assert f"left out: {path}: not there" in run("push", url, status=1).stderr
    result = run("pull", url, status=1, store=other)
    assert f"left out: {url}/{path.relative_to(root)}: not there" in result.stderr
    assert len(files(other)) == 5


def test_many_items_need_few_lists(way: Network, url: str, root: Path, other: Path) -> None:
    for n in range(40):
        put(root, "texts", f"more {n}")
    assert "49 files" in run("push", url, "--all").output
    assert way.asked.count(b"PUT /") == 49 + 1  # and the bucket
    way.asked.clear()
    assert "49 skipped" in run("push", url, "--all").output
    folders = {path.parent for path in files(root)}
    assert way.asked.count(b"GET /") == 4 + len(folders)
    assert not way.asked.count(b"HEAD /")
    way.asked.clear()
    assert "6 files" in run("pull", url, store=other).output
    assert way.asked.count(b"GET /") <= 4 + 6 + 6
    assert "43 files" in run("pull", url, "--all", "--jobs", "50", store=other).output
    assert contents(other) == contents(root)


def test_neighbours_share_no_lock(way: Network, url: str, root: Path, other: Path) -> None:
    """Keys with the same first two digits share a lock, so they must not follow each other."""
    contents = [n for n in range(3000) if content_key(TEXTS, f"x {n}")[:2] in ("00", "01")]
    for n in contents:
        put(root, "texts", f"x {n}")
    run("push", url, "--all")
    way.asked.clear()
    run("pull", url, "--all", "--jobs", "1", store=other)
    folders = re.findall(r"GET /\S+/texts/(0[01])/\S+\.h5", way.asked.decode())
    assert len(folders) == len(contents)
    assert len(list(itertools.groupby(folders))) > len(folders) / 4


def test_dropped_connections_do_no_harm(
    server: str, way: Network, url: str, root: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "RETRIES", 8)
    for n in range(30):
        put(root, "texts", f"more {n}")
    way.cuts[:] = cuts = [None, None, None, 0, None, None, None, 60, None, None, None, 200] * 3
    assert "39 files" in run("push", url, "--all", "--jobs", "8").output
    assert in_bucket(server, url) == contents(root)
    assert not way.cuts
    way.cuts[:] = [left and 20 * left for left in cuts]
    assert "39 files" in run("pull", url, "--all", "--jobs", "8", store=other).output
    assert contents(other) == contents(root)
    assert not way.cuts


def test_the_server_goes_and_comes_back(
    server: str, way: Network, url: str, root: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(9):
        put(root, "texts", f"more {n}")
    way.cuts[:] = [None] * 8 + [0] * 1000
    result = run("push", url, "--all", "--jobs", "1", status=2)
    what, to_do = result.stderr.splitlines()[-2:]
    assert "the server does not answer" in what
    assert "what is copied is kept" in to_do
    sent = in_bucket(server, url)
    assert 0 < len(sent) < 18
    assert sent.items() <= contents(root).items()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert f"{18 - len(sent)} files" in run("push", url, "--all").output
    way.cuts[:] = [None] * 24 + [0] * 1000
    monkeypatch.setenv("AWS_ENDPOINT_URL", way.url)
    result = run("pull", url, "--all", "--jobs", "1", status=2, store=other)
    assert "the server does not answer" in result.stderr
    received = contents(other)
    assert 0 < len(received) < 18
    assert received.items() <= contents(root).items()
    assert not list(other.rglob("*.tmp"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert f"{18 - len(received)} files" in run("pull", url, "--all", store=other).output
    assert contents(other) == contents(root)


@pytest.mark.slow
def test_two_machines_push_and_one_is_killed(server: str, url: str, root: Path) -> None:
    for n in range(30):
        put(root, "texts", f"more {n}")
    command = [sys.executable, "-m", "hlclip", "store", "push", url, "--all", "--jobs", "2"]
    pushing = [subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) for _ in range(2)]
    while not in_bucket(server, url):
        time.sleep(0.05)
    pushing[0].send_signal(signal.SIGKILL)
    assert [process.wait() for process in pushing] == [-signal.SIGKILL, 0]
    for process in pushing:
        process.communicate()
    assert in_bucket(server, url) == contents(root)


@pytest.mark.parametrize(
    ("variables", "what", "to_do"),
    [
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "does not answer", "AWS_ENDPOINT_URL"),
        ({"AWS_ALLOW_HTTP": None}, "expected https://HOST", "AWS_ALLOW_HTTP=true"),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "expected https://HOST", "http://HOST"),
        (
            {
                "AWS_ACCESS_KEY_ID": None,
                "AWS_SECRET_ACCESS_KEY": None,
                "AWS_METADATA_ENDPOINT": "http://127.0.0.1:9",
            },
            "no credentials",
            "AWS_ACCESS_KEY_ID",
        ),
    ],
)
@pytest.mark.usefixtures("root")
def test_wrong_variables(
    variables: dict, what: str, to_do: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    for command in COMMANDS:
        lines = run(command, url, status=2).stderr.splitlines()
        assert lines[-2].startswith(url)
        assert what in lines[-2]
        assert to_do in lines[-1]


@pytest.mark.usefixtures("root")
def test_refused_credentials(server: str, url: str) -> None:
    for command in COMMANDS:
        with real_credentials(server):
            what, to_do = run(command, url, status=2).stderr.splitlines()[-2:]
        assert "refuses the credentials" in what
        assert "AWS_ACCESS_KEY_ID" in to_do
        assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in what + to_do


@pytest.mark.usefixtures("url", "root")
def test_a_missing_bucket() -> None:
    for command in COMMANDS:
        lines = run(command, "s3://nobody-made-this/x", status=2).stderr.splitlines()
        assert "s3://nobody-made-this/x" in lines[-2]
        assert "no such bucket" in lines[-2]
        assert "create it" in lines[-1]


@pytest.mark.usefixtures("root")
def test_what_is_no_url_is_refused() -> None:
    remotes = [
        "s3://",
        "s3:bucket",
        "http://a.org/b",
        "gs://a/b",
        "file://x/y",
        "s3://[a",
        "s3://a/b?c",
    ]
    for bad, command in itertools.product([*remotes, "/x", "b", ""], COMMANDS):
        what, to_do = run(command, bad, status=2).stderr.splitlines()
        assert what == f"{bad}: expected s3://BUCKET or s3://BUCKET/FOLDER, or file:///FOLDER"
        assert "AWS_ENDPOINT_URL" in to_do
    assert "is a URL, expected a path" in run("export", "s3://a/b", status=2).stderr


def test_there_is_nothing_to_copy(url: str, root: Path, other: Path, tmp_path: Path) -> None:
    assert "found none" in run("pull", url, status=2).stderr
    assert "no such folder" in run("pull", f"file://{tmp_path}/none", status=2).stderr
    assert not (tmp_path / "none").exists()
    run("push", f"file://{tmp_path}/full")
    (tmp_path / "a file").touch()
    place = tmp_path / "a file/store"
    result = run("pull", f"file://{tmp_path}/full", status=2, store=place)
    assert f"{place}" in result.stderr
    assert "cannot be written" in result.stderr
    assert "holds no items" in run("push", url, status=2, store=other).stderr
    for manifest in (root.parents[1] / "outputs").iterdir():
        manifest.unlink()
    for command in ("push", "pull"):
        assert "names nothing" in run(command, url, status=2).stderr


@pytest.mark.usefixtures("root")
def test_the_library_is_optional(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    assert "pip install 'hlclip[s3]'" in run("push", url, status=2).stderr
