"""Downloads from a real server that cuts, changes and lies: the right bytes or no file at all."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from urllib3 import Retry

from hlclip.datasets.download import PATIENT, DownloadError, download
from hlclip.system.disk import DiskError
from tests.web import Web, serving

CONTENT = random.Random(1).randbytes(500_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = random.Random(2).randbytes(500_000)
IMPATIENT = Retry(total=2, backoff_factor=0, status_forcelist=(503,))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving(file=CONTENT) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "file.bin"


def fetch(web: Web, path: Path, *, sha256: str | None = None) -> None:
    download(f"{web.url}/file", path, sha256=sha256, retry=IMPATIENT)


def leave_a_part(web: Web, path: Path, length: int = 200_000) -> None:
    """A download that gives up after `length` bytes."""
    web.statuses += [200, 404]
    web.cuts.append(length)
    with pytest.raises(DownloadError):
        fetch(web, path)
    web.requests.clear()
    assert not path.exists()
    assert "file.bin.part" in names(path)


def names(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir())


def starts(web: Web) -> list[int]:
    """First byte of each request."""
    return [int(asked[6:-1]) if asked else 0 for asked in web.asked_ranges()]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_whole_file(web: Web, path: Path, sha256: str | None) -> None:
    fetch(web, path, sha256=sha256)
    assert path.read_bytes() == CONTENT
    assert names(path) == ["file.bin"]
    assert web.asked_ranges() == [None]


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_tiny_file(web: Web, path: Path, content: bytes) -> None:
    web.files["file"] = content
    fetch(web, path)
    assert path.read_bytes() == content


def test_a_file_that_is_there_is_left_alone(web: Web, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"mine")
    fetch(web, path, sha256=SHA256)
    assert path.read_bytes() == b"mine"
    assert web.requests == []


def test_a_body_that_breaks_off_is_resumed(
    web: Web, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.cuts += [100_000, 0, 150_000]
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    first, second, third, fourth = starts(web)
    assert first == 0
    assert 0 < second == third <= 100_000 < fourth <= 250_000
    assert caplog.text.count("/file: Connection broken: IncompleteRead(") == 3


def test_the_count_of_tries_restarts_when_bytes_have_arrived(web: Web, path: Path) -> None:
    web.cuts += [100_000, 100_000, 100_000, 100_000]  # IMPATIENT forgives two in a row
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    assert len(web.requests) == 5


def test_a_server_that_always_cuts_is_given_up(web: Web, path: Path) -> None:
    web.cuts += [100_000, 0, 0, 0]
    with pytest.raises(DownloadError, match=r"/file: .*\nrun again to go on from byte [0-9,]+$"):
        fetch(web, path)
    assert not path.exists()
    fetch(web, path)
    assert path.read_bytes() == CONTENT


_SCRIPT = """
import sys
from pathlib import Path
from hlclip.datasets.download import download
download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3] or None)
"""


@pytest.mark.parametrize("sha256", [SHA256, ""])
def test_a_killed_download_goes_on_where_it_was(web: Web, path: Path, sha256: str) -> None:
    command = [sys.executable, "-c", _SCRIPT, f"{web.url}/file", str(path), sha256]
    part = path.with_name("file.bin.part")
    web.block_seconds = 0.05
    for _ in range(2):
        before = part.stat().st_size if part.exists() else 0
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while not part.exists() or part.stat().st_size < before + 65_536:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert not path.exists()
    part_size = part.stat().st_size
    web.block_seconds = 0
    subprocess.run(command, check=True)
    assert path.read_bytes() == CONTENT
    assert names(path) == ["file.bin"]
    assert len(web.requests) == 3
    assert starts(web)[0] == 0
    assert 0 < starts(web)[1] < starts(web)[2] == part_size


def test_a_server_without_ranges_sends_all_again(
    web: Web, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    leave_a_part(web, path)
    web.ranges = False
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    assert starts(web)[0] > 0
    assert "does not resume it; starting over" in caplog.text


@pytest.mark.parametrize("if_range", [True, False])
@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("length", [500_000, 400_000, 1_000])
def test_a_file_that_changed_is_not_spliced(
    web: Web, path: Path, if_range: bool, etag: bool, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    web.etag = etag
    leave_a_part(web, path)
    web.files["file"] = OTHER[:length]
    web.last_modified += 86_400
    web.if_range = if_range
    fetch(web, path)
    assert path.read_bytes() == OTHER[:length]
    assert "has another file now; starting over" in caplog.text
    assert names(path) == ["file.bin"]


def test_a_file_that_changes_between_two_tries(web: Web, path: Path) -> None:
    web.cuts.append(100_000)
    web.then["file"] = OTHER
    fetch(web, path)
    assert path.read_bytes() == OTHER
    assert [asked is None for asked in web.asked_ranges()] == [True, False]


def test_a_weak_etag_resumes_nothing(web: Web, path: Path) -> None:
    web.headers = {"ETag": 'W/"1"', "Last-Modified": ""}
    leave_a_part(web, path)
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    assert web.asked_ranges() == [None]


def test_ranges_are_asked_for_with_the_validator(web: Web, path: Path) -> None:
    leave_a_part(web, path)
    fetch(web, path)
    (_, headers), *more = web.requests
    assert headers["If-Range"] == f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert headers["Accept-Encoding"] == "identity"
    assert more == []
    assert path.read_bytes() == CONTENT


def test_a_range_that_was_not_asked_for(web: Web, path: Path) -> None:
    leave_a_part(web, path)
    web.headers = {"Content-Range": "bytes 7-499999/500000"}
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    assert [asked is None for asked in web.asked_ranges()] == [False, True]


def test_another_place_does_not_continue_a_file_without_checksum(web: Web, path: Path) -> None:
    leave_a_part(web, path)
    web.files["copy"] = CONTENT
    with pytest.raises(
        DownloadError, match=r"file.bin.part was begun from .*/file\nfinish it from there"
    ):
        download(f"{web.url}/copy", path, retry=IMPATIENT)
    assert web.requests == []
    download(f"{web.url}/copy", path, sha256=SHA256, retry=IMPATIENT)
    assert path.read_bytes() == CONTENT


def test_wrong_bytes_are_refused_and_removed(web: Web, path: Path) -> None:
    web.files["file"] = OTHER
    with pytest.raises(DownloadError, match=rf"500,000 bytes with sha256 .* expected {SHA256}"):
        fetch(web, path, sha256=SHA256)
    assert names(path) == []
    web.files["file"] = CONTENT
    fetch(web, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_damaged_part_is_refused_and_then_replaced(web: Web, path: Path) -> None:
    leave_a_part(web, path)
    part = path.with_name("file.bin.part")
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(DownloadError, match="they were removed"):
        fetch(web, path, sha256=SHA256)
    fetch(web, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("note", ["", "{", "[]", '{"url": 1}'])
def test_a_note_that_is_not_readable(web: Web, path: Path, note: str) -> None:
    leave_a_part(web, path)
    path.with_name("file.bin.part.json").write_text(note)
    fetch(web, path)
    assert path.read_bytes() == CONTENT


def test_a_part_without_a_note_is_not_resumed(web: Web, path: Path) -> None:
    path.parent.mkdir()
    path.with_name("file.bin.part").write_bytes(OTHER[:1000])
    fetch(web, path)
    assert path.read_bytes() == CONTENT


def test_no_such_file(web: Web, path: Path) -> None:
    del web.files["file"]
    with pytest.raises(DownloadError, match=r"/file: the server answers 404 \(Not Found\)"):
        fetch(web, path)
    assert names(path) == []
    assert len(web.requests) == 1


def test_a_busy_server_is_asked_again(
    web: Web, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    web.statuses += [503, 503]
    fetch(web, path)
    assert path.read_bytes() == CONTENT
    assert len(web.requests) == 3
    assert (
        caplog.text.count("/file: the server answers 503 (Service Unavailable); trying again") == 2
    )


def test_a_server_that_stays_busy(web: Web, path: Path) -> None:
    web.statuses += [503] * 9
    with pytest.raises(DownloadError, match="answers 503"):
        fetch(web, path)
    assert len(web.requests) == 3


def test_the_default_is_patient() -> None:
    pauses, retry = [], PATIENT
    for _ in range(7):
        retry = retry.increment("GET", "/", error=TimeoutError())
        pauses.append(retry.get_backoff_time())
    assert pauses == [0, 1, 2, 4, 8, 16, 32]
    assert retry.is_retry("GET", 503)
    assert not retry.is_retry("GET", 404)


def test_no_server(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as web:
        pass
    with pytest.raises(DownloadError, match=r"^http://.*/file: .*[Cc]onnection refused"):
        fetch(web, path)


def test_proxies_are_the_environments(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(**{"http://data.invalid/file": CONTENT}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        download("http://data.invalid/file", path, sha256=SHA256, retry=IMPATIENT)
    assert path.read_bytes() == CONTENT


def test_a_length_or_a_checksum_is_needed(web: Web, path: Path) -> None:
    web.length = False
    with pytest.raises(DownloadError, match="does not say how long the file is"):
        fetch(web, path)
    assert not path.exists()
    fetch(web, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_a_short_body_without_length_is_refused(web: Web, path: Path) -> None:
    web.length = False
    web.cuts.append(100_000)
    with pytest.raises(DownloadError, match="100,000 bytes with sha256"):
        fetch(web, path, sha256=SHA256)
    assert names(path) == []


def test_a_label_of_compression_changes_no_byte(web: Web, path: Path) -> None:
    web.headers = {"Content-Encoding": "x-gzip"}
    web.cuts.append(100_000)
    fetch(web, path, sha256=SHA256)
    assert path.read_bytes() == CONTENT


def test_room_is_needed_for_what_is_to_come(
    web: Web, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_part(web, path)
    part_size = path.with_name("file.bin.part").stat().st_size
    # A disk that is full cannot be had in a test: what Python says of it is replaced.
    usage = type(shutil.disk_usage(path.parent))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 500_000 - part_size - 1))
    with pytest.raises(
        DiskError, match=rf"downloading .*/file needs {500_000 - part_size:,} bytes, "
    ):
        fetch(web, path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 500_000 - part_size))
    fetch(web, path)
    assert path.read_bytes() == CONTENT


def test_one_download_at_a_time(web: Web, path: Path) -> None:
    path.parent.mkdir()
    with FileLock(path.with_name(".file.bin.lock")), pytest.raises(DiskError, match="another run"):
        fetch(web, path)
    assert web.requests == []
    fetch(web, path)
    assert names(path) == ["file.bin"]
