"""`hlclip encode`: shards together are one run; what is whole is not made again."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.formats import Index, Video, VideoInfo
from hlclip.params import FramesParams, load_params
from hlclip.pipeline.activations import make_activations
from hlclip.pipeline.encode import encode
from hlclip.pipeline.frames import Decoding, make_frames
from hlclip.pipeline.index import build_index
from hlclip.pipeline.shards import Encoded, ShardError, find_missing, in_shard, parse_shard
from hlclip.store.store import Store, content_key
from tests.scale import ROOT, Project, items, many_videos

VIDEOS = int(os.environ.get("HLCLIP_VIDEOS", "12"))
QUERIES = -(-VIDEOS // 3)
SIZE = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return many_videos(tmp_path_factory.mktemp("project"), VIDEOS)


@pytest.fixture(scope="module")
def whole(project: Project) -> Mapping[str, bytes]:
    """What the stages make."""
    params, store = load_params(project.folder / "params.yaml"), project.folder / "whole"
    index = build_index(params.data, cache=store / "videos.json")
    root = project.folder / "data"
    frames = make_frames(index, params.frames, data_root=root, store=store, max_missing=0)
    make_activations(index, frames, params.encoder, store=store, device="cpu")
    return items(store)


def run(project: Project, store: Path, *arguments: str) -> Result:
    params = str(project.folder / "params.yaml")
    environment = {"HLCLIP_STORE": str(store)}
    return CliRunner().invoke(app, ["encode", "--params", params, *arguments], env=environment)


def started(project: Project, store: Path, *arguments: str) -> "subprocess.Popen[str]":
    params = str(project.folder / "params.yaml")
    return subprocess.Popen(
        [sys.executable, "-m", "hlclip", "encode", "--params", params, *arguments],
        env=os.environ | {"HLCLIP_STORE": str(store), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_all_shards_together_are_one_run(
    project: Project, whole: Mapping[str, bytes], tmp_path: Path
) -> None:
    params = load_params(project.folder / "params.yaml")
    parts = [encode(params, store=tmp_path, shard=(number, 3)) for number in range(3)]
    assert items(tmp_path) == whole
    assert sum(part.videos for part in parts) == len(project.vids)
    assert all(0 < part.videos < len(project.vids) for part in parts)
    assert sum(part.made["frames"] for part in parts) == len(project.vids)
    assert sum(part.made["images"] for part in parts) == len(project.vids)
    assert sum(part.made["texts"] for part in parts) == QUERIES  # one text is of several shards
    again = encode(params, store=tmp_path)
    assert again == Encoded(VIDEOS, VIDEOS, QUERIES)


def test_a_shard_opens_no_video_of_another(project: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "p", project.vids)
    (tmp_path / "p/data/videos").mkdir(parents=True)
    (tmp_path / "p/model").symlink_to(project.folder / "model")
    (tmp_path / "p/data/val.jsonl").symlink_to(project.folder / "data/val.jsonl")
    for vid in project.vids:
        target = tmp_path / f"p/data/videos/{vid}.mkv"
        if in_shard(vid, (1, 3)):
            target.symlink_to(project.folder / f"data/videos/{vid}.mkv")
        else:
            os.mkfifo(target)  # whoever opens it waits for ever
    done = encode(load_params(other.params()), store=tmp_path / "store", shard=(1, 3))
    assert done.failed == {}
    assert done.made["frames"] == done.videos > 0


@pytest.mark.slow
def test_shards_that_run_twice_and_at_once_and_one_is_killed(
    project: Project, whole: Mapping[str, bytes], tmp_path: Path
) -> None:
    killed = started(project, tmp_path)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("frames/??/*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    kept = {path: path.stat().st_ino for path in tmp_path.rglob("*.h5")}
    runs = [started(project, tmp_path, "--shard", shard) for shard in ("0/2", "1/2")]
    twice = encode(load_params(project.folder / "params.yaml"), store=tmp_path, shard=(1, 2))
    assert twice.failed == {}
    for each in runs:
        said, _ = each.communicate(timeout=100)
        assert each.returncode == 0, said
    assert items(tmp_path) == whole
    assert {path: path.stat().st_ino for path in kept} == kept
    result = run(project, tmp_path)
    assert result.exit_code == 0
    assert (
        f"{VIDEOS} of {VIDEOS} videos, {QUERIES} queries: made 0 frames, 0 images" in result.output
    )


def test_bad_videos_are_named_and_counted_against_the_whole_data_set(tmp_path: Path) -> None:
    project = many_videos(tmp_path / "p", 6)
    bad, gone = project.vids[:2]
    (tmp_path / f"p/data/videos/{bad}.mkv").write_text("no video")
    (tmp_path / f"p/data/videos/{gone}.mkv").unlink()
    result = run(project, tmp_path / "store")
    assert result.exit_code == 1
    assert f"  {gone}: no file videos/{gone}.*" in result.output
    assert f"  {bad}: videos/{bad}.mkv: " in result.output
    assert "made 4 frames, 4 images, 2 texts" in result.output
    assert result.output.endswith("; 2 videos failed\n")
    project.params(max_missing=0.34)
    assert run(project, tmp_path / "store").exit_code == 0
    # One of the two is in this shard: less than a fifth of all videos.
    project.params(max_missing=0.17)
    count = next(n for n in range(2, 50) if not in_shard(gone, (shard(bad, n), n)))
    assert (
        run(project, tmp_path / "store", "--shard", f"{shard(bad, count)}/{count}").exit_code == 0
    )
    assert run(project, tmp_path / "store").exit_code == 1


def shard(vid: str, count: int) -> int:
    return next(number for number in range(count) if in_shard(vid, (number, count)))


def test_a_shard_without_videos_has_nothing_to_do(project: Project, tmp_path: Path) -> None:
    taken = {shard(vid, 1000) for vid in project.vids}
    result = run(project, tmp_path, "--shard", f"{min(set(range(1000)) - taken)}/1000")
    assert result.exit_code == 0
    assert result.output.startswith(f"0 of {VIDEOS} videos, 0 queries: made 0 frames, 0 images")


def test_every_video_is_in_one_shard_everywhere() -> None:
    vids = [f"{number}_{number}.0" for number in range(3000)]
    sizes = [sum(in_shard(vid, (number, 7)) for vid in vids) for number in range(7)]
    assert sum(sizes) == 3000
    assert max(sizes) < 1.2 * min(sizes)
    value = int(hashlib.sha256(b"j7rJstUseKg_360.0_510.0").hexdigest(), 16)
    assert in_shard("j7rJstUseKg_360.0_510.0", (value % 64, 64))


@pytest.mark.parametrize(
    "text", ["", "3", "1/", "/4", "a/4", "-1/4", "1/4/2", "4/4", "0/0", "1.0/2"]
)
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ShardError, match=r"I is 0 to N - 1|counted from 0|N is 1 or more"):
        parse_shard(text)
    assert parse_shard("3/4") == (3, 4)


def test_a_wrong_shard_is_refused_before_anything_is_read(project: Project, tmp_path: Path) -> None:
    result = run(project, tmp_path, "--shard", "4/4")
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        "4/4: there is no shard 4 of 4",
        "shards are counted from 0: 0/4 to 3/4",
    ]
    result = run(project, tmp_path, "--shard", "1/4", "--ray", "auto")
    assert result.exit_code == 2
    assert "--shard and --ray were given" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_item_is_made_again(
    project: Project, whole: Mapping[str, bytes], tmp_path: Path
) -> None:
    params = load_params(project.folder / "params.yaml")
    encode(params, store=tmp_path)
    for kind in ("frames", "images", "texts"):
        path = min((tmp_path / kind).rglob("*.h5"))
        path.write_bytes(path.read_bytes()[:-1])
    made = encode(params, store=tmp_path).made
    assert made == dict.fromkeys(("frames", "images", "texts"), 1)
    assert items(tmp_path) == whole


def test_ten_thousand_items_are_recognised_in_three_seconds(tmp_path: Path) -> None:
    count = 5000
    info = VideoInfo(4.0, 48, 32, "ffv1")
    index = Index(
        2.0, {"val": []}, {f"v{n}": Video(f"{n}", f"{n}", info) for n in range(count)}, {}
    )
    decoding = Decoding(index, SIZE, data_root=tmp_path, store=tmp_path, hashes={})
    images = Store(tmp_path, "images", {"model": "m"})
    texts = Store(tmp_path, "texts", {"model": "m"})
    # One real item under all names: `holds` reads the file's block, whatever its name.
    for store, keys in (
        (decoding.store, decoding.keys.values()),
        (images, [content_key(images.header, key) for key in decoding.keys.values()]),
    ):
        first, *others = keys
        store.get_or_make(first, lambda: np.zeros((2, 8), np.uint8))
        for key in others:
            store.path(key).parent.mkdir(exist_ok=True)
            os.link(store.path(first), store.path(key))
    before = time.process_time()
    missing, _ = find_missing(index, decoding, images, texts)
    assert time.process_time() - before < 3
    assert missing.videos == {}
    images.path(content_key(images.header, decoding.keys["v7"])).unlink()
    decoding.store.path(decoding.keys["v9"]).unlink()
    assert set(find_missing(index, decoding, images, texts)[0].videos) == {"v7", "v9"}
