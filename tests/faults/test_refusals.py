"""A refusal of the system is no evidence against a file: what cannot be read is named and stays."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import hlclip.video.ffmpeg_process
from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import Index, Video
from hlclip.params import FramesParams
from hlclip.pipeline.frames import make_frames
from hlclip.store.store import Store
from hlclip.system.files import sha256_of
from hlclip.video.container import probe
from hlclip.video.ffmpeg_process import ffmpeg_executable
from hlclip.video.frames import extract_frames, frames_header
from hlclip.video.refusals import VideoUnreadableError
from tests.films import film
from tests.stored import files, put

HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
ROW = Annotation.model_validate({"qid": 1, "query": "a cat", "vid": "a", "duration": 6})

READER = """
import sys
from pathlib import Path
import numpy as np
from hlclip.formats import Item
from hlclip.store import Store, StoreUnreadableError

root, key, digest = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
refused = 0
for _ in range(40):
    store = Store(root, "images", {"size": 4})
    try:
        item = store.get_or_make(key, lambda: np.zeros((3, 4), np.float32))
        array = store.read(item)
    except StoreUnreadableError as error:
        assert "cannot be read: Input/output error" in error.reason, error
        assert "the disk or the connection to it is failing" in error.remedy()
        refused += 1
    else:
        assert item == Item(key, digest, 3) and array.sum() == 66
print(refused)
"""


@pytest.mark.parametrize("call", ["read", "pread64", "openat", "fstat"])
def test_a_disk_that_fails_now_and_then_costs_no_item(tmp_path: Path, call: str) -> None:
    store = Store(tmp_path, "images", {"size": 4})
    item = store.get_or_make("ab12", lambda: np.arange(12, dtype=np.float32).reshape(3, 4))
    path = store.path(item.key)
    identity, content = path.stat().st_ino, path.read_bytes()
    # Every seventh call fails: in turn each of those that one reading makes.
    fault = [
        *strace(),
        "-P",
        path,
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:error=EIO:when=3+7",
    ]
    command = [*fault, sys.executable, "-c", READER, tmp_path, item.key, item.digest]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert (path.stat().st_ino, path.read_bytes()) == (identity, content)


VERIFY = """
import os, resource, sys
import hlclip.maintenance, hlclip.cli
from tests.disks import be_bound_by_permissions

if sys.argv[1] == "files":
    most = len(os.listdir("/proc/self/fd")) + 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
else:
    be_bound_by_permissions()
hlclip.cli.app(["store", "verify", "--remove", "--yes"])
"""


@pytest.mark.parametrize("fault", ["permission", "files"])
def test_what_the_system_refuses_to_read_is_not_removed(tmp_path: Path, fault: str) -> None:
    root = tmp_path / "store"
    for n in range(24):
        put(root, "images", f"v{n}")
    every = files(root)
    if fault == "permission":
        for path in every:
            path.chmod(0)  # as a file of mode 600 is for another user
    environment = {**os.environ, "HLCLIP_STORE": str(root), "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", VERIFY, fault],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert files(root) == every, done.stdout
    assert "damaged: " not in done.stdout
    if fault == "permission":
        assert done.returncode == 1
        assert "0 files are whole, 0 damaged, 24 unreadable" in done.stdout
        assert done.stdout.count("unreadable, never deleted: ") == 24
        assert "Permission denied; give your user the right to it" in done.stdout


WEIGHTS = """
import os, sys
from pathlib import Path
from hlclip.model.weight_files import check_fits
from hlclip.system import print_error

for path in map(Path, sys.argv[1:]):
    if os.fork():  # strace counts the calls of each process
        assert os.waitstatus_to_exitcode(os.wait()[1]) == 2
        continue
    try:
        check_fits(path, {"w": (99, 99)}, model="m")
    except Exception as error:
        sys.exit(print_error(error, status=2))
    sys.exit(0)
"""


def test_weights_that_the_system_does_not_read_are_not_called_damaged(tmp_path: Path) -> None:
    read, mapped = tmp_path / "w.bin", tmp_path / "w.safetensors"
    tensors = {"w": torch.zeros(99, 99)}
    torch.save(tensors, read)
    save_file(tensors, mapped)
    watched = [*strace(), "-P", read, "-P", mapped, "-e", "trace=read,mmap"]
    faults = ["-e", "inject=read:error=EIO:when=3+", "-e", "inject=mmap:error=ENOMEM"]
    command = [*watched, *faults, sys.executable, "-c", WEIGHTS, read, mapped]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{read}: Input/output error\nthe disk or")
    assert "\nnot enough memory " in done.stderr


def test_no_memory_for_a_library_is_no_bug() -> None:
    code = (
        "import resource, sys\n"
        "from hlclip.system import print_error\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))\n"
        "try: import torch\n"
        "except Exception as error: sys.exit(print_error(error, status=2))"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert re.fullmatch(r"not enough memory: .*\nend other programs, or raise .*\n", done.stderr)


def test_a_file_system_that_does_not_flush_folders(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from hlclip.system import write_whole; write_whole(Path(sys.argv[1]), b'whole')"
    )
    fault = [*strace(), "-P", str(tmp_path), "-e", "trace=fsync", "-e", "inject=fsync:error=EINVAL"]
    path = tmp_path / "a"
    subprocess.run([*fault, sys.executable, "-c", code, str(path)], check=True)
    assert path.read_bytes() == b"whole"


def test_a_file_system_without_locks_is_named(tmp_path: Path) -> None:
    fault = [*strace(), "-e", "trace=flock", "-e", "inject=flock:error=ENOSYS"]
    code = (
        "import sys; from pathlib import Path\n"
        "from hlclip.store import holding; from hlclip.system import print_error\n"
        "try:\n"
        "    with holding(Path(sys.argv[1])): pass\n"
        "except OSError as error: sys.exit(print_error(error, status=2))"
    )
    command = [*fault, sys.executable, "-c", code, str(tmp_path / "store")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    reason, remedy = done.stderr.splitlines()
    assert reason == f"{tmp_path}/store/in-use.lock: Function not implemented"
    assert remedy.startswith("its file system has no locks (flock): mount it with locks, or")


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("a.mkv", "1+"),
        ("a.mkv", "4+"),
        *((f"a.{each}", "4") for each in ("mp4", "mkv", "ts", "avi")),
    ],
)
def test_a_disk_that_fails_while_ffmpeg_reads_shortens_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reads: str
) -> None:
    path = film(tmp_path / name, "-c:v", "libx264", "-qp", 2, size="320x240", seconds=12)
    assert path.stat().st_size > 8 * 2**15  # ffmpeg reads 32 KiB at a time
    fault = ["-P", str(path), "-e", "trace=read", "-e", f"inject=read:error=EIO:when={reads}"]
    _run_ffmpeg_with(tmp_path, monkeypatch, shlex.join([*strace(), *fault]))
    with pytest.raises(VideoUnreadableError, match="Input/output error"):
        extract_frames(path, HEADER, decoder="ffmpeg")


@pytest.mark.parametrize("fault", ["disk", "kill"])
def test_what_the_system_refuses_ends_a_stage_whatever_may_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = film(tmp_path / "a.mkv", "-c:v", "mpeg4", "-q:v", 2, size="320x240")
    video = Video(path.name, sha256_of(path), probe(path))
    index = Index(2.0, {"val": [ROW]}, {"a": video}, {})
    if fault == "kill":
        _run_ffmpeg_with(tmp_path, monkeypatch, "sh -c 'kill -9 $$'")
        reason = r"a\.mkv: ffmpeg was killed from outside.*\nend other programs"
    else:
        refused = "-e trace=read -e inject=read:error=EIO:when=3+"
        _run_ffmpeg_with(
            tmp_path, monkeypatch, f"{shlex.join(strace())} -P {shlex.quote(str(path))} {refused}"
        )
        reason = r"a\.mkv: cannot be read \(Input/output error\)\nthe disk"
    params = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
    with pytest.raises(VideoUnreadableError, match=reason):
        make_frames(index, params, data_root=tmp_path, store=tmp_path / "s", max_missing=1)
    assert not list(tmp_path.rglob("*.h5"))


def _run_ffmpeg_with(folder: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    script = folder / "ffmpeg"
    script.write_text(f'#!/bin/sh\nexec {program} {shlex.quote(ffmpeg_executable())} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(hlclip.video.ffmpeg_process, "ffmpeg_executable", lambda: str(script))


INDEX = """
import sys
from pathlib import Path
from hlclip.params import DataParams
from hlclip.pipeline.index import build_index
from hlclip.system import print_error

data = DataParams(
    root=sys.argv[1],
    annotations={"val": "val.jsonl"},
    videos="videos",
    clip_seconds=2.0,
    max_missing=1.0,
)
try:
    build_index(data, cache=Path(sys.argv[1]) / "videos.json")
except Exception as error:
    sys.exit(print_error(error, status=1))
"""


@pytest.mark.parametrize("first", [1, 3])
def test_a_video_that_the_system_refuses_to_read_is_not_missing(tmp_path: Path, first: int) -> None:
    (tmp_path / "videos").mkdir()
    path = film(tmp_path / "videos" / "a.mkv", "-c:v", "mpeg4", "-q:v", 2, size="320x240")
    (tmp_path / "val.jsonl").write_text(ROW.model_dump_json(exclude_none=True) + "\n")
    fault = ["-P", path, "-e", "trace=read", "-e", f"inject=read:error=EIO:when={first}+"]
    command = [*strace(), *fault, sys.executable, "-c", INDEX, tmp_path]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert f"{path}: cannot be read (Input/output error)\nthe disk or the conn" in done.stderr


def strace() -> list[str]:
    """strace, where it is installed and may trace."""
    program = shutil.which("strace")
    if program is None or subprocess.run([program, "-qq", "true"], check=False).returncode:
        pytest.skip("no strace, or it may not trace processes here")
    return [program, "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"]
