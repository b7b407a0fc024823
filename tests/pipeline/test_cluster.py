"""`hlclip encode --ray` on a real cluster of three raylets on this machine, with losses."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.model import EncoderError
from hlclip.params import load_params
from hlclip.pipeline.encode import encode
from tests.scale import ROOT, Project, items, kill_for_memory, many_videos

pytest.importorskip("ray", reason="Ray is not installed: pip install 'hlclip[ray]'")
from ray.cluster_utils import Cluster

from hlclip.pipeline.cluster import encode_on_ray

pytestmark = pytest.mark.slow
VIDEOS = int(os.environ.get("HLCLIP_VIDEOS", "24"))
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head that does no work, and a node that one encoder and one decoder fill."""
    settings = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))  # of the workers, too
        head = NODE | {"num_cpus": 0, "_system_config": settings}
        cluster = Cluster(True, head_node_args=head)
        cluster.add_node(**dict(NODE, num_cpus=2))
        yield cluster
        cluster.shutdown()


def address(cluster: Cluster) -> str:
    assert cluster.address is not None
    return cluster.address


class Driver:
    """`hlclip encode --ray` in a process of its own."""

    def __init__(self, project: Project, store: Path, address: str) -> None:
        self.store = store
        params = str(project.folder / "params.yaml")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hlclip", "encode", "--params", params, "--ray", address],
            env=os.environ | {"HLCLIP_STORE": str(store), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def made(self, count: int) -> dict[Path, int]:
        """Wait for the tokens of so many videos; returned are the items and their inodes."""
        deadline = time.monotonic() + 300
        while len(list(self.store.glob("images/??/*.h5"))) < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return {path: path.stat().st_ino for path in self.store.rglob("*.h5")}

    def end(self) -> str:
        said, _ = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, said
        return said


def test_two_runs_at_once_name_bad_videos_and_make_the_rest_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    project = many_videos(tmp_path / "p", 6)
    bad, gone = project.vids[:2]
    # As long as the index needs, and no longer.
    path = tmp_path / f"p/data/videos/{bad}.mkv"
    path.write_bytes(path.read_bytes()[:1000])
    (tmp_path / f"p/data/videos/{gone}.mkv").unlink()
    params, store = load_params(project.folder / "params.yaml"), tmp_path / "store"
    other = Driver(project, store, address(cluster))
    done = encode_on_ray(params, store=store, address=address(cluster))
    said, _ = other.process.communicate(timeout=300)
    alone = encode(params, store=tmp_path / "alone")
    assert done.failed == alone.failed
    assert other.process.returncode == 1
    assert said.endswith("; 2 videos failed\n")
    made = re.search(r"made (\d+) frames, (\d+) images, (\d+) texts", said)
    assert made
    for number, (kind, others) in zip(map(int, made.groups()), done.made.items(), strict=True):
        assert number + others == alone.made[kind]
    assert done.failed.keys() == {bad, gone}
    assert items(store) == items(tmp_path / "alone")
    # An error of a worker is that of one process.
    wrong = params.frames.model_copy(update={"size": 64})
    with pytest.raises(EncoderError, match=r"frames.size is 64, but .* takes other frames"):
        encode_on_ray(
            params.model_copy(update={"frames": wrong}), store=store, address=address(cluster)
        )


def test_a_driver_a_worker_and_a_node_are_lost(cluster: Cluster, tmp_path: Path) -> None:
    """What is whole stays, the rest is made, and every byte is that of one process."""
    project, store = many_videos(tmp_path / "p", VIDEOS), tmp_path / "store"
    last = cluster.add_node(**NODE)
    driver = Driver(project, store, address(cluster))
    kept = driver.made(1)
    driver.process.send_signal(signal.SIGKILL)
    driver.process.communicate()
    driver = Driver(project, store, address(cluster))
    kept |= driver.made(VIDEOS // 4)
    encoders = [each for each in psutil.process_iter() if "ray::Encoder" in each.name()]
    kill_for_memory(next(each.pid for each in encoders if psutil.Process() in each.parents()))
    kept |= driver.made(VIDEOS // 2)
    cluster.remove_node(last, allow_graceful=False)
    said = driver.end()
    encode(load_params(project.folder / "params.yaml"), store=tmp_path / "alone")
    assert items(store) == items(tmp_path / "alone")
    assert {path: path.stat().st_ino for path in kept} == kept
    assert f"{VIDEOS} of {VIDEOS} videos, {-(-VIDEOS // 3)} queries: made " in said
    assert said.endswith("0 videos failed\n")


def test_a_cluster_that_is_not_there_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = str(many_videos(tmp_path / "p", 1).folder / "params.yaml")
    monkeypatch.setenv("HLCLIP_STORE", str(tmp_path / "store"))
    start = time.monotonic()
    for bad in ("nowhere", "127.0.0.1:1", "ray://127.0.0.1:1", "a:99999", ""):
        ended = CliRunner().invoke(app, ["encode", "--params", params, "--ray", bad])
        assert ended.exit_code == 2
        assert f"no Ray cluster at {bad}: " in ended.stderr
        assert "give HOST:PORT of its head, or auto" in ended.stderr
    assert time.monotonic() - start < 20  # Ray would try for minutes
