"""Damage of any sort is found, whatever it hits; what is whole is never accused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.formats.manifests import Item, Manifest, write_manifests
from hlclip.maintenance import verify_store
from hlclip.store.store import content_key
from tests.damage import DAMAGES, a_folder, emptied, flipped
from tests.stored import HEADERS, files, put, put_data_set


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("HLCLIP_STORE", "store")
    return tmp_path / "store"


EVERY = [*DAMAGES, a_folder]


def test_two_hundred_random_damages(root: Path, tmp_path: Path) -> None:
    seed = 20240417
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    vids = [f"v{n}" for n in range(60)]
    manifests = put_data_set(root, tmp_path, *vids[:30])  # half of them named
    for kind in HEADERS:
        for vid in vids:
            put(root, kind, vid)
    every = sorted(files(root))
    assert len(every) == 240
    assert verify_store(root, manifests, everything=True).whole == 240
    copies = tmp_path / "whole"
    shutil.copytree(root, copies)

    hit = [every[n] for n in random.choice(len(every), 200, replace=False)]
    for n, path in enumerate(hit):
        EVERY[n % len(EVERY)](path, random)
        if path.is_file() and path.read_bytes() == (copies / path.relative_to(root)).read_bytes():
            flipped(path, random)  # another key's file may have been this one's

    found = verify_store(root, manifests, everything=True)
    assert sorted(each.path for each in found.damaged) == sorted(hit)
    assert (found.whole, found.unmet) == (40, [])
    named = {item.key for manifest in manifests.values() for item in manifest.items.values()}
    found = verify_store(root, manifests, everything=False)
    assert {each.path for each in found.damaged} == {
        path for path in hit if path.stem in named and path.parts[-3] != "features"
    }

    result = CliRunner().invoke(app, ["store", "verify", "--remove"], input="y\n")
    assert result.exit_code == 1
    assert [str(path) in result.output for path in every] == [path in hit for path in every]
    assert files(root) == set(every) - set(hit)
    assert verify_store(root, {}, everything=True).damaged == []
    for kind in HEADERS:
        for vid in vids:
            put(root, kind, vid)
    assert all(
        path.read_bytes() == (copies / path.relative_to(root)).read_bytes() for path in every
    )
    assert CliRunner().invoke(app, ["store", "verify"]).exit_code == 0


def test_what_the_manifests_miss_is_named(root: Path, tmp_path: Path) -> None:
    item = put(root, "frames", "here")
    gone = Item(content_key(HEADERS["frames"], "gone"), "0" * 32, 3)
    elsewhere = Item(item.key, "0" * 32, item.length)
    items = {"a": gone, "b": elsewhere}
    write_manifests(
        tmp_path / "outputs/frames.json", frames=Manifest(dict(HEADERS["frames"]), items, {})
    )
    result = CliRunner().invoke(app, ["store", "verify", "--json", "--remove", "--yes"])
    assert result.exit_code == 1
    content = json.loads(result.output)
    reasons = {Path(each["path"]).stem: each["reason"] for each in content["unmet"]}
    assert reasons[gone.key] == "not in the store"
    assert "made on another machine" in reasons[item.key]
    assert content["unmet"][0]["remedy"] == "`dvc repro --force frames` makes what is missing"
    assert (content["whole"], content["damaged"]) == (1, [])
    assert len(files(root)) == 1  # nobody removes what is whole


def test_a_folder_with_something_in_it_is_left(root: Path) -> None:
    put(root, "texts", "a")
    (path,) = files(root)
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("")
    said = CliRunner().invoke(app, ["store", "verify", "--remove", "--yes"])
    assert said.exit_code == 1
    assert f"a folder with files in it: move it away: {path}" in said.output
    assert (path / "mine").exists()


def test_no_is_no(root: Path) -> None:
    put(root, "texts", "a")
    (path,) = files(root)
    emptied(path, np.random.default_rng())
    result = CliRunner().invoke(app, ["store", "verify", "--remove"], input="n\n")
    assert result.exit_code == 1
    assert path.exists()


def test_an_empty_place_is_no_error(root: Path) -> None:
    result = CliRunner().invoke(app, ["store", "verify"])
    assert (result.exit_code, result.output) == (0, f"{root}: 0 files are whole, 0 damaged\n")
