"""Items made from another file than their key says are found by decoding the videos again."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.formats import (
    Annotation,
    Index,
    Manifest,
    Video,
    VideoInfo,
    write_index,
    write_manifests,
)
from hlclip.params import FramesParams
from hlclip.pipeline.frames import make_frames
from hlclip.store import Store, content_key, item_path
from hlclip.system import sha256_of
from tests.films import constant, numbered_film
from tests.stored import HEADERS

PARAMS = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
VIDS = ("a", "b")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.setenv("HLCLIP_STORE", "store")
    return tmp_path / "store"


def run_stages(root: Path, data: Path) -> Manifest:
    """Frames of two films, and tokens and features that look as if they were made from them."""
    videos = {}
    for n, vid in enumerate(VIDS):
        path = data / f"videos/{vid}.mkv"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            numbered_film(path, constant(10, 4), first=100 * n)
        info = VideoInfo(4.0, 32, 32, "ffv1")
        videos[vid] = Video(f"videos/{vid}.mkv", sha256_of(path), info)
    rows = [
        Annotation(qid=n, query="q", vid=vid, duration=4, relevant_clip_ids=None, clips=clips)
        for n, (vid, clips) in enumerate(zip(VIDS, (None, ((0.0, 2.0), (1.0, 4.0))), strict=True))
    ]
    index = Index(2.0, {"test": rows}, videos, {})
    frames = make_frames(index, PARAMS, data_root=data, store=root, max_missing=0)
    for kind in ("images", "features"):
        store = Store(root, kind, HEADERS[kind])
        for item in frames.items.values():
            key = content_key(store.header, item.key)
            store.get_or_make(key, lambda: np.ones((2, 4), np.float16))
    write_index(root.parent / "outputs/index.json", index)
    write_manifests(root.parent / "outputs/frames.json", frames=frames)
    return frames


def poison(root: Path, frames: Manifest, vid: str) -> None:
    """Frames of another film under the key of this one, in the store and in the manifest."""
    store = Store(root, "frames", frames.header)
    key = frames.items[vid].key
    store.path(key).unlink()
    made = store.get_or_make(key, lambda: np.full((2, 32, 32, 3), 7, np.uint8))
    items = {**frames.items, vid: made}
    write_manifests(root.parent / "outputs/frames.json", frames=Manifest(frames.header, items, {}))


def verify(*arguments: str) -> Result:
    command = ["store", "verify", "--videos", "data", *arguments]
    return CliRunner().invoke(app, command)


def test_frames_of_another_film_and_what_was_made_from_them(root: Path, tmp_path: Path) -> None:
    frames = run_stages(root, tmp_path / "data")
    assert verify().exit_code == 0
    poison(root, frames, "a")
    key = frames.items["a"].key
    expected = {
        item_path(root / "frames", key),
        *(item_path(root / k, content_key(HEADERS[k], key)) for k in ("images", "features")),
    }
    said = verify("--json")
    assert said.exit_code == 1
    content = json.loads(said.stdout)
    assert (content["whole"], content["unmet"]) == (3, [])
    assert {Path(each["path"]) for each in content["damaged"]} == expected
    # By its checksums alone the store is whole.
    assert CliRunner().invoke(app, ["store", "verify"]).exit_code == 0
    said = verify("--remove", "--yes")
    assert "not made from videos/a.mkv; `dvc repro --force frames` makes" in said.stdout
    assert not [path for path in expected if path.exists()]
    assert len(list(root.glob("*/*/*.h5"))) == 3
    assert run_stages(root, tmp_path / "data") == frames
    assert verify().exit_code == 0


def test_tokens_of_frames_that_were_deleted(root: Path, tmp_path: Path) -> None:
    """The manifest still holds the digest of the frames."""
    frames = run_stages(root, tmp_path / "data")
    poison(root, frames, "b")
    item_path(root / "frames", frames.items["b"].key).unlink()
    foreign = json.loads(verify("--json").stdout)["damaged"]
    kinds = [Path(each["path"]).relative_to(root).parts[0] for each in foreign]
    assert sorted(kinds) == ["features", "images"]


def test_a_video_that_is_another_one_now_is_not_compared(root: Path, tmp_path: Path) -> None:
    run_stages(root, tmp_path / "data")
    numbered_film(tmp_path / "data/videos/a.mkv", constant(10, 6), first=500)
    said = verify()
    assert said.exit_code == 1
    reason = "videos/a.mkv: cannot be compared: is no longer the file that `index` hashed"
    assert f"but: data/{reason}; `dvc repro` reads it again" in said.stdout
    assert "6 files are whole, 0 damaged" in said.stdout


def test_without_a_run_there_is_nothing_to_compare(root: Path, tmp_path: Path) -> None:
    said = verify()
    assert said.exit_code == 2
    assert "`dvc repro` or `dvc checkout` makes them" in said.stderr
    frames = run_stages(root, tmp_path / "data")
    write_index(tmp_path / "outputs/index.json", Index(2.0, {}, {}, {}))
    assert frames.items
    said = verify()
    assert said.exit_code == 2
    assert "index.json and frames.json are not of one run" in said.stderr
