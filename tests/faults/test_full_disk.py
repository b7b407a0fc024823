"""A disk that is full, read-only or not ours: a clear error, nothing half-written, and room helps.

Real disks: a tmpfs of a few kilobytes, which only root may mount.
"""

import errno
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hlclip.formats.annotations import Annotation
from hlclip.formats.scores import pack, write_scores
from hlclip.formats.submissions import Prediction, write_submission
from hlclip.highlights.drawings import plot_curve
from hlclip.highlights.film import cut_moments
from hlclip.highlights.moments import Curve, Moment
from hlclip.model import save_tail
from hlclip.store.store import Store
from hlclip.system.disk import WriteError
from hlclip.system.errors import print_error
from hlclip.system.files import replacing, write_json
from hlclip.training import Loss, TrainingState, write_history
from hlclip.training.optimizer import WeightAverage
from tests.disks import disk_with_quota, exhausted, fill, make_read_only, small_disk
from tests.films import constant, numbered_film

ROOT = Path(__file__).parents[2]
DISK = 512 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own."""
    with small_disk(tmp_path / "disk", DISK) as folder:
        yield folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "source.mkv"
    numbered_film(path, constant(10, 20), side=64)
    return path


@pytest.fixture
def film(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`source.mkv` is there, by this name."""
    monkeypatch.chdir(source.parent)


def _checkpoint(path: Path) -> None:
    save_tail(path, {"weight": torch.arange(20_000.0)}, {"weights": "none"})


def _resume(path: Path) -> None:
    torch.manual_seed(0)
    weights = torch.nn.Parameter(torch.arange(20_000.0))
    optimizer = torch.optim.AdamW([weights])
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    trained, loss = {"w": weights}, Loss("mse", "literal")
    average = WeightAverage(trained, 0.0)
    TrainingState(trained, loss, optimizer, schedule, average).save(path)


def _scores(path: Path) -> None:
    row = Annotation(qid=1, query="a dog " * 2000, vid="v", duration=20, relevant_clip_ids=None)
    cosines: dict[int | str, NDArray[np.float32]] = {1: np.linspace(-1, 1, 10, dtype=np.float32)}
    write_scores(path, {"val": pack([row], {"zero-shot": cosines})})


def _submission(path: Path) -> None:
    rows = [Prediction(qid=n, pred_saliency_scores=tuple([0.1] * 50)) for n in range(200)]
    write_submission(path, rows)


def _history(path: Path) -> None:
    write_history(path, [{"epoch": n} for n in range(5000)])


def _manifest(path: Path) -> None:
    write_json(path, list(range(10_000)))


def _plot(path: Path) -> None:
    saliency = np.linspace(0, 1, 10, dtype=np.float32)
    curve = Curve(Path("source.mkv"), "a dog", saliency, 20.0, 2.0)
    plot_curve(curve, [Moment(0, 4, 1.0, range(2))], path, window=1)


def _film(path: Path) -> None:
    cut_moments(
        Path("source.mkv"), [Moment(2, 12, 0.0, range(0))], path, exact=True, overwrite=True
    )


WRITERS: dict[str, Callable[[Path], None]] = {
    "checkpoint.safetensors": _checkpoint,
    "resume.pt": _resume,
    "scores.safetensors": _scores,
    "submission.jsonl": _submission,
    "history.csv": _history,
    "manifest.json": _manifest,
    "plot.png": _plot,
    "film.mp4": _film,
}


@pytest.mark.usefixtures("film")
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(disk: Path, tmp_path: Path, name: str) -> None:
    write, path = WRITERS[name], disk / "out" / name
    roomy = tmp_path / "roomy" / name
    write(roomy)
    path.parent.mkdir()
    path.write_text("old")
    ballast = fill(disk, leave=min(8192, roomy.stat().st_size // 2))
    with pytest.raises(WriteError) as caught:
        write(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: cannot be written: No space left on device (")
    assert re.search(r"needed, [\d,]+ bytes free\)\nmake room on that disk, then run again", said)
    assert [p.read_text() for p in path.parent.iterdir()] == ["old"]
    ballast.unlink()
    write(path)
    assert path.read_bytes() == roomy.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("leave", [0, 4096, 8192, 49_152, 53_248])
def test_a_full_disk_and_the_store(disk: Path, tmp_path: Path, leave: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (5, 100, 100), dtype=np.uint8)
    roomy, tight = (Store(root, "frames", {"size": 4}) for root in (tmp_path / "roomy", disk))
    item = roomy.get_or_make("ab12", lambda: pictures)
    other = tight.get_or_make("ab99", lambda: pictures + 1)
    # The last ones leave room for all but the end, which HDF5 would write when it closes.
    ballast = fill(disk, leave=leave)
    if leave < pictures.nbytes:
        needed = r"ab12\.h5: cannot be written: No space.*5\d,\d{3} bytes or more"
        with pytest.raises(WriteError, match=needed):
            tight.get_or_make("ab12", lambda: pictures)
        assert [p.name for p in tight.path("ab12").parent.iterdir()] == ["ab99.h5"]
        ballast.unlink()
    assert tight.get_or_make("ab12", lambda: pictures) == item
    assert tight.path("ab12").read_bytes() == roomy.path("ab12").read_bytes()
    assert np.array_equal(tight.read(other), pictures + 1)


def test_a_full_disk_and_the_code_that_lies_on_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 8 * 2**20) as disk:
        for package in ("hlclip", "stages"):
            shutil.copytree(ROOT / package, disk / package, ignore=lambda *_: ["__pycache__"])
        shutil.copy(ROOT / "params.yaml", disk)

        def stage() -> str:
            command = [sys.executable, "-m", "stages.index"]
            own = {"PYTHONPATH": str(disk), "PYTHONDONTWRITEBYTECODE": ""}
            ended = subprocess.run(
                command, cwd=disk, env=os.environ | own, capture_output=True, text=True, check=False
            )
            assert ended.returncode == 1
            assert "Traceback" not in ended.stderr
            return ended.stderr

        ballast = fill(disk, leave=4096 * 14)
        stage()
        ballast.unlink()
        assert "data.root must hold" in stage()


@pytest.mark.usefixtures("film")
@pytest.mark.parametrize("name", ["manifest.json", "checkpoint.safetensors", "film.mp4"])
def test_a_read_only_disk(disk: Path, name: str) -> None:
    path = disk / "out" / name
    path.parent.mkdir()
    path.write_text("old")
    make_read_only(disk)
    with pytest.raises(WriteError, match=r"cannot be written: Read-only file system\nmake that"):
        WRITERS[name](path)
    assert [p.read_text() for p in path.parent.iterdir()] == ["old"]


def test_a_read_only_store_is_named(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(disk, "frames", {"size": 4})
    store.get_or_make("ab12", lambda: np.zeros((2, 2), np.uint8))
    make_read_only(disk)
    with pytest.raises(OSError, match="Read-only") as caught:
        store.get_or_make("cd34", lambda: np.zeros((2, 2), np.uint8))
    assert print_error(caught.value, status=1) == 1
    said = capsys.readouterr().err
    assert str(disk) in said
    assert "make that disk writable" in said


def test_no_permission() -> None:
    # pytest's own temporary folders let no one else in, which would hide what is tested.
    with tempfile.TemporaryDirectory() as outside:
        os.chmod(outside, 0o755)  # noqa: S103
        folder = Path(outside) / "theirs"
        folder.mkdir(mode=0o555)
        me = os.geteuid()
        if me == 0:
            os.seteuid(65534)  # permissions do not bind root
        try:
            assert list(folder.iterdir()) == []
            with pytest.raises(WriteError, match="cannot be written: Permission denied\ngive your"):
                write_json(folder / "file", 1)
        finally:
            os.seteuid(me)
        assert list(folder.iterdir()) == []


def _limited() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("what", ["safetensors", "store", "json", "film.ts"])
def test_a_limit_on_the_size_of_files(tmp_path: Path, source: Path, what: str) -> None:
    program = """
import sys
import tempfile
from pathlib import Path
import numpy as np
from hlclip.pipeline.stage import run
what, path = sys.argv[1], Path(sys.argv[2])

def main():
    if what == "safetensors":
        from safetensors.numpy import save_file
        from hlclip.system.files import replacing
        with replacing(path) as temporary:
            save_file({"w": np.zeros(100_000)}, temporary)
    elif what == "store":
        from hlclip.store.store import Store
        Store(path.parent, "frames", {}).get_or_make("ab12", lambda: np.zeros((100, 1000)))
    elif what == "film.ts":
        from hlclip.highlights import Moment
        from hlclip.highlights.film import cut_moments
        cut_moments(sys.argv[3], [Moment(2, 18, 0.0, range(0))], path, exact=True)
    else:
        from hlclip.system.files import write_json
        write_json(path, list(range(100_000)))

run(main)
"""
    out = tmp_path / "out" / what
    ended = subprocess.run(
        [sys.executable, "-c", program, what, str(out), str(source)],
        cwd=tmp_path,
        preexec_fn=_limited,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "cannot be written: File too large" in ended.stderr
    assert "`ulimit -f`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [p for p in out.parent.rglob("*") if p.is_file() and p.suffix != ".lock"] == []


@pytest.fixture(scope="module")
def quota(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that may hold half a megabyte."""
    with disk_with_quota(tmp_path_factory.mktemp("quota") / "folder", DISK) as folder:
        yield folder


@pytest.mark.usefixtures("film")
@pytest.mark.parametrize("name", WRITERS)
def test_a_quota(quota: Path, tmp_path: Path, name: str) -> None:
    write, path = WRITERS[name], quota / name / name
    roomy = tmp_path / "roomy" / name
    write(roomy)
    path.parent.mkdir()
    path.write_text("old")
    with exhausted(quota), pytest.raises(WriteError) as caught:
        write(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: cannot be written: Disk quota exceeded (")
    assert " free on the disk)\nmake room within your quota, then run again" in said
    assert [p.read_text() for p in path.parent.iterdir()] == ["old"]
    write(path)
    assert path.read_bytes() == roomy.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [name]
    shutil.rmtree(path.parent)


def test_a_quota_and_the_store(quota: Path, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 255, (5, 100, 100), dtype=np.uint8)
    roomy, tight = (Store(root, "frames", {"size": 4}) for root in (tmp_path, quota / "store"))
    item = roomy.get_or_make("ab12", lambda: pictures)
    other = tight.get_or_make("ab99", lambda: pictures + 1)
    with exhausted(quota), pytest.raises(WriteError, match=r"ab12\.h5: .* Disk quota exceeded"):
        tight.get_or_make("ab12", lambda: pictures)
    assert [p.name for p in tight.path("ab12").parent.iterdir()] == ["ab99.h5"]
    assert tight.get_or_make("ab12", lambda: pictures) == item
    assert tight.path("ab12").read_bytes() == roomy.path("ab12").read_bytes()
    assert np.array_equal(tight.read(other), pictures + 1)


@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC, errno.EFBIG, errno.EROFS])
def test_what_the_system_says_while_we_write(tmp_path: Path, number: int) -> None:
    with pytest.raises(WriteError, match=os.strerror(number)), replacing(tmp_path / "x"):
        raise RuntimeError("closing failed") from OSError(number, os.strerror(number))
    assert list(tmp_path.iterdir()) == []


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "x") as temporary:
        temporary.write_text((tmp_path / "none").read_text())
    assert list(tmp_path.iterdir()) == []
