"""`hlclip data qvhighlights`: looks first, asks, downloads, extracts, and says what to run next."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from hlclip.datasets.qvhighlights import ANNOTATIONS, VIDEOS, Release, dataset_status
from tests.datasets.test_archive import pack, tree
from tests.web import Web, serving

VIDS = {"train": ["t_0.0_150.0", "u_0.0_150.0"], "val": ["v_0.0_150.0"], "test": ["w_0.0_150.0"]}
ALL = [vid for vids in VIDS.values() for vid in vids]


def rows(split: str) -> bytes:
    made = [
        {"qid": f"{split}{n}", "query": f"query {n}", "vid": vid, "duration": 150}
        for n, vid in enumerate([*VIDS[split], VIDS[split][0]])
    ]
    return "\n".join(map(json.dumps, made)).encode()


def release(known: Release) -> Release:
    """Generated rows under the name of the real file."""
    content, vids = rows(known.split), len(VIDS[known.split])
    sha256 = hashlib.sha256(content).hexdigest()
    return replace(known, sha256=sha256, rows=vids + 1, vids=vids)


RELEASES = tuple(release(known) for known in ANNOTATIONS)
FILES = {known.name: rows(known.split) for known in ANNOTATIONS}


def content(vid: str) -> bytes:
    return hashlib.sha256(vid.encode()).digest() * 5000


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A mirror of a small data set that the command takes for the real one."""
    members = [(f"videos/{vid}.mp4", content(vid)) for vid in ALL]
    archive = pack(tmp_path / "packed", *members).read_bytes()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("hlclip.datasets.ANNOTATIONS", RELEASES)
    monkeypatch.setattr("hlclip.datasets.VIDEOS", replace(VIDEOS, size=len(archive)))
    with serving(**FILES, **{VIDEOS.name: archive}) as server:
        monkeypatch.setenv("HLCLIP_QVHIGHLIGHTS_MIRROR", f"{server.url}/")
        yield server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data" / "qvh"


def run(*arguments: str | Path, answer: str = "") -> Result:
    command = ["data", "qvhighlights", *map(str, arguments)]
    return CliRunner().invoke(app, command, input=answer)


def place(root: Path, *, videos: list[str] = ALL) -> None:
    for folder in ("annotations", "videos"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, content_ in FILES.items():
        (root / "annotations" / name).write_bytes(content_)
    for vid in videos:
        (root / "videos" / f"{vid}.mp4").write_bytes(content(vid))


def annotations() -> dict[str, bytes]:
    return {f"annotations/{name}": rows for name, rows in FILES.items()}


def videos(vids: list[str] = ALL) -> dict[str, bytes]:
    return {f"videos/{vid}.mp4": content(vid) for vid in vids}


def test_the_annotations_come_first(web: Web, root: Path) -> None:
    result = run(root, "--yes")
    assert result.exit_code == 0, result.output
    assert tree(root) == annotations()
    assert [name for name, _ in web.requests] == list(FILES)
    assert "highlight_train_release.jsonl  3 queries on 2 videos, as released\n" in result.stdout
    assert "0 of the 4 that the annotations name\n" in result.stdout
    assert f"{root}/videos/<vid>.mp4" in result.stdout
    assert f"hlclip data qvhighlights {root} --videos" in result.stdout


def test_all_of_it(web: Web, root: Path) -> None:
    result = run(root, "--yes", "--videos")
    assert result.exit_code == 0, result.output
    assert tree(root) == annotations() | videos()
    archive = root.parent / VIDEOS.name
    assert f"{archive}: 4 videos extracted to {root}/videos\n" in result.stderr
    assert f"no longer needed: rm {archive}\n" in result.stderr
    assert "4 of the 4 that the annotations name\n" in result.stdout
    assert result.stdout.endswith(
        f"Next\n  cp presets/qvhighlights.yaml params.yaml\n  dvc exp run -S data.root={root}\n"
    )
    web.requests.clear()
    archive.unlink()
    again = run(root, "--videos")
    assert again.exit_code == 0
    assert web.requests == []
    assert "licensed" not in again.output


def test_json_is_all_of_stdout(web: Web, root: Path) -> None:
    place(root, videos=ALL[1:])
    looked = run(root, "--check", "--json")
    assert looked.exit_code == 1
    found = json.loads(looked.stdout)
    assert found["missing"] == [ALL[0]]
    assert (found["videos"], found["videos named"], found["whole"]) == (3, 4, False)
    fetched = run(root, "--videos", "--json", "--yes")
    assert fetched.exit_code == 0, fetched.output
    assert json.loads(fetched.stdout)["whole"] is True
    assert "1 videos extracted" in fetched.stderr


def test_a_relative_root_is_made_absolute(
    web: Web, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.parent.mkdir()
    monkeypatch.chdir(root.parent)
    result = run("qvh", "--yes")
    # Outside of a clone there are no presets to copy.
    assert f"hlclip init FOLDER --preset qvhighlights --data {root}\n" in result.stdout
    assert "cp presets" not in result.stdout


def test_nothing_is_downloaded_before_the_licence_was_seen(web: Web, root: Path) -> None:
    for answer in ("", "n\n"):
        result = run(root, "--videos", answer=answer)
        assert result.exit_code == 1
        assert "CC BY-NC-SA 4.0" in result.stderr
        urls = "".join(f"  {web.url}/{name}\n" for name in FILES)
        assert f"To download:\n{urls}  {web.url}/{VIDEOS.name} (about " in result.stderr
    assert web.requests == []
    assert not root.exists()
    assert run(root, answer="y\n").exit_code == 0
    assert tree(root) == annotations()


def test_check_changes_nothing(web: Web, root: Path) -> None:
    result = run(root, "--check", "--videos")
    assert result.exit_code == 1
    assert result.stdout.count("  missing\n") == 3
    assert "  unknown until the annotations are complete\n" in result.stdout
    assert not root.exists()
    place(root, videos=ALL[1:])
    result = run(root, "--check")
    assert result.exit_code == 1
    assert "3 of the 4 that the annotations name\n" in result.stdout
    assert f"missing: {ALL[0]}\n" in result.stdout
    place(root)
    before = tree(root)
    result = run(root, "--check")
    assert result.exit_code == 0
    assert "missing" not in result.stdout
    assert "Next\n" in result.stdout
    assert tree(root) == before
    assert web.requests == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            FILES[RELEASES[0].name] + b"\n",
            "3 queries on 2 videos like the release, but other bytes",
        ),
        (b"\n".join(FILES[RELEASES[0].name].split(b"\n")[1:]), "2 queries on 2 videos, expected 3"),
        (FILES[RELEASES[1].name], f"this is {RELEASES[1].name}"),
        (b"{}", "not readable as annotations"),
        (b"", "not readable as annotations"),
    ],
    ids=["bytes", "rows", "another", "malformed", "empty"],
)
def test_a_file_that_is_not_the_release_is_left_alone(
    web: Web, root: Path, content: bytes, words: str
) -> None:
    place(root)
    (root / "annotations" / RELEASES[0].name).write_bytes(content)
    before = tree(root)
    for arguments in ([], ["--check"]):
        result = run(root, *arguments)
        assert result.exit_code == 1
        assert tree(root) == before
        line = next(line for line in result.stdout.splitlines() if RELEASES[0].name in line)
        assert "not the release" in line
        assert words in line
        assert (
            "Move away the files that differ from the release, then run again.\n" in result.stdout
        )
    assert web.requests == []


def test_other_annotations_from_a_mirror_are_refused(web: Web, root: Path) -> None:
    name = RELEASES[1].name
    web.files[name] += b"\n"
    result = run(root, "--yes")
    assert result.exit_code == 2
    assert f"/{name}: received {len(web.files[name])} bytes with sha256" in result.stderr
    assert f"Or place the file yourself: {root}/annotations/{name}\n" in result.stderr
    assert tree(root).keys() == {f"annotations/{RELEASES[0].name}"}


def test_a_place_that_has_no_archive(web: Web, root: Path) -> None:
    del web.files[VIDEOS.name]
    result = run(root, "--yes", "--videos")
    assert result.exit_code == 2
    assert f"/{VIDEOS.name}: the server answers 404 (Not Found)\nOr give" in result.stderr
    assert tree(root) == annotations()


def test_an_archive_that_is_there(web: Web, root: Path, tmp_path: Path) -> None:
    place(root, videos=ALL[:1])
    (root / "videos" / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    mine = tmp_path / "mine.tar.gz"
    members = [(f"{vid}.mp4", content(vid)) for vid in ALL[:3]]
    pack(mine, *members, ("README\x1b[31m", b"x"))
    result = run(root, "--archive", mine)
    assert result.exit_code == 1  # one video is missing still
    (root / "videos" / "dangling.mp4").unlink()
    assert tree(root) == annotations() | videos(ALL[:3])
    assert "2 videos extracted" in result.stderr
    assert f"1 missing videos are not in it: {ALL[3]}\n" in result.stderr
    assert (
        "1 members ignored: 'README\\x1b[31m' (not among the videos of the annotations)\n"
    ) in result.stderr
    assert web.requests == []
    assert mine.exists()


def test_videos_with_another_size_are_named(web: Web, root: Path) -> None:
    place(root, videos=ALL[:1])
    path = root / "videos" / f"{ALL[0]}.mp4"
    path.write_bytes(b"cut")
    result = run(root, "--yes", "--videos")
    assert result.exit_code == 1
    assert path.read_bytes() == b"cut"
    assert "1 existing videos differ in size" in result.stderr
    assert "no longer needed" not in result.stderr


def test_an_archive_that_is_not_there(web: Web, root: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "videos.tar.gz"
    result = run(root, "--yes", "--archive", elsewhere)
    assert result.exit_code == 2
    assert result.stderr == f"{elsewhere}: no such file\n--videos downloads it to this path\n"
    assert not root.exists()
    assert run(root, "--yes", "--videos", "--archive", elsewhere).exit_code == 0
    assert elsewhere.exists()
    assert tree(root) == annotations() | videos()


def test_a_truncated_archive_is_named(web: Web, root: Path, tmp_path: Path) -> None:
    place(root, videos=[])
    mine = tmp_path / "mine.tar.gz"
    mine.write_bytes(web.files[VIDEOS.name][:-20])
    result = run(root, "--archive", mine)
    assert result.exit_code == 2
    assert f"{mine} ends too early, at byte" in result.stderr
    assert tree(root) == annotations()


def test_room_for_archive_and_videos(web: Web, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(root, videos=[])
    size = len(web.files[VIDEOS.name])
    # A disk that is full cannot be had in a test: what Python says of it is replaced.
    usage = type(shutil.disk_usage(root))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 2 * size - 1))
    result = run(root, "--yes", "--videos")
    assert result.exit_code == 2
    assert f"needs {2 * size:,} bytes, {2 * size - 1:,} bytes are free" in result.stderr
    assert web.requests == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 10**9))
    assert run(root, "--yes", "--videos").exit_code == 0


def test_a_linked_folder_is_warned_of(web: Web, root: Path, tmp_path: Path) -> None:
    place(tmp_path / "elsewhere")
    place(root, videos=[])
    (root / "videos").rmdir()
    (root / "videos").symlink_to(tmp_path / "elsewhere" / "videos")
    result = run(root, "--check")
    assert result.exit_code == 0
    assert f"{root}/videos is a link to a folder, which DVC does not follow" in result.stdout
    (root / "videos").unlink()
    (root / "videos").mkdir()
    for path in (tmp_path / "elsewhere" / "videos").iterdir():
        (root / "videos" / path.name).symlink_to(path)
    result = run(root, "--check")
    assert result.exit_code == 0
    assert "is a link" not in result.stdout


_KILLED = """
import sys
from dataclasses import replace
from hlclip import datasets
from hlclip.cli import app
from tests.datasets.test_data_command import RELEASES
datasets.ANNOTATIONS = RELEASES
datasets.VIDEOS = replace(datasets.VIDEOS, size=1)
app(["data", "qvhighlights", sys.argv[1], "--yes", "--videos"])
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(web: Web, root: Path) -> None:
    archive = root.parent / VIDEOS.name
    part = archive.with_name(f"{archive.name}.part")
    web.files[VIDEOS.name] += bytes(300_000)  # gzip allows zeros at the end
    web.block_seconds = 0.1
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(root)], stdout=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not part.exists() or part.stat().st_size == 0:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    part_size = part.stat().st_size
    web.requests.clear()
    web.block_seconds = 0
    result = run(root, "--yes", "--videos")
    assert result.exit_code == 0, result.output
    assert [(name, headers["Range"]) for name, headers in web.requests] == [
        (VIDEOS.name, f"bytes={part_size}-")
    ]
    assert tree(root) == annotations() | videos()
    assert archive.read_bytes() == web.files[VIDEOS.name]


def test_the_mirror_option_comes_before_the_environment(
    web: Web, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HLCLIP_QVHIGHLIGHTS_MIRROR", "http://127.0.0.1:9")
    assert run(root, "--yes", "--mirror", web.url).exit_code == 0


def test_without_a_mirror_the_published_places_are_asked(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HLCLIP_QVHIGHLIGHTS_MIRROR", raising=False)
    result = run(root, "--videos", answer="n\n")
    assert result.exit_code == 1
    urls = "".join(f"  {known.url}\n" for known in ANNOTATIONS)
    assert f"To download:\n{urls}  {VIDEOS.url} (about 134.0 GB)\n" in result.stderr


def test_looks_at_the_real_files(
    qvhighlights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way with the real facts: the mirror is a server of the real annotations."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    files = {known.name: (qvhighlights_dir / known.name).read_bytes() for known in ANNOTATIONS}
    with serving(**files) as web:
        result = run(tmp_path, "--yes", "--mirror", web.url)
    assert result.exit_code == 0, result.output
    assert "1,550 queries on 1,519 videos, as released\n" in result.stdout
    assert "0 of the 10,148 that the annotations name\n" in result.stdout
    status = dataset_status(tmp_path)
    assert len(status.missing) == 10_148
    assert (status.absent, status.different, status.whole) == ([], [], False)


def test_help_teaches_by_example() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "  hlclip data qvhighlights /data/qvhighlights --check  " in result.stdout
    assert "HLCLIP_QVHIGHLIGHTS_MIRROR" in result.stdout
