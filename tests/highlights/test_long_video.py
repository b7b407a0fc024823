"""Long videos: frames are streamed, tokens are stored in parts."""

import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.highlights import features
from hlclip.highlights.features import token_parts
from hlclip.model import Encoder, encoder_header, image_header, load_encoder
from hlclip.store.store import Store, StoreError
from hlclip.system.files import file_state
from hlclip.video.files import VideoChangedError, VideoFile, inspect_videos
from hlclip.video.frames import extract_frames, frames_header, stream_frames
from hlclip.video.refusals import VideoError
from tests.films import copy, ffmpeg
from tests.models import save_model, tiny_config

HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


@pytest.fixture(scope="module")
def encoder(model: str) -> Encoder:
    return load_encoder(model, None, cached_blocks=2)


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """130 clips."""
    return slow_film(tmp_path_factory.mktemp("film") / "long.mkv", 260)


def slow_film(path: Path, seconds: int) -> Path:
    """Two frames a second, which is soon drawn."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=2:d={seconds}", path)
    return path


@pytest.fixture
def images(tmp_path: Path, encoder: Encoder) -> Store:
    header = image_header(encoder_header(encoder, None), "float16", 2.0)
    return Store(tmp_path / "store", "images", header)


def inspect(path: Path, tmp_path: Path) -> VideoFile:
    ((_, file),) = inspect_videos({"v": path}, tmp_path / "videos.json")
    assert isinstance(file, VideoFile)
    return file


def parts_of(
    path: Path, encoder: Encoder, images: Store
) -> Generator[NDArray[np.floating], None, None]:
    file = inspect(path, images.folder.parent)
    return token_parts(file, encoder=encoder, frames=HEADER, images=images)


def files(store: Store) -> list[Path]:
    return sorted(store.folder.glob("*/*.h5"))


@pytest.mark.parametrize("most", [1, 7, 130, 1000])
def test_streamed_frames_are_the_extracted_ones(long_film: Path, most: int) -> None:
    pieces = list(stream_frames(long_film, HEADER, most=most))
    assert {len(piece) for piece in pieces[:-1]} <= {most}
    np.testing.assert_array_equal(np.concatenate(pieces), extract_frames(long_film, HEADER))


def test_real_footage_streams_alike(footage_dir: Path) -> None:
    path = footage_dir / "videos" / "tears_of_steel_battle.webm"
    pieces = list(stream_frames(path, HEADER, most=8))
    assert [len(piece) for piece in pieces] == [8, 8, 8, 8, 3]
    np.testing.assert_array_equal(np.concatenate(pieces), extract_frames(path, HEADER))


def test_a_reader_may_stop_early(long_film: Path) -> None:
    pieces = stream_frames(long_film, HEADER, most=1)
    assert len(next(pieces)) == 1
    pieces.close()


def test_parts_are_the_whole(
    long_film: Path, encoder: Encoder, images: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = parts_of(long_film, encoder, images)
    images.path(files(images)[0].stem).unlink()
    monkeypatch.setattr(features, "PART_CLIPS", 50)
    parts = list(parts_of(long_film, encoder, images))
    assert [len(part) for part in parts] == [50, 50, 30]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_video_of_full_parts_has_no_further_part(
    tmp_path: Path, encoder: Encoder, images: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PART_CLIPS", 25)
    path = slow_film(tmp_path / "v.mkv", 100)
    for _ in range(2):  # encoded, then read from the store
        assert [len(part) for part in parts_of(path, encoder, images)] == [25, 25]


def test_an_interrupted_run_continues_with_its_part(
    long_film: Path, encoder: Encoder, images: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PART_CLIPS", 50)
    expected = next(parts := parts_of(long_film, encoder, images))
    next(parts)
    parts.close()
    before = {path: path.stat().st_mtime_ns for path in files(images)}
    assert len(before) == 2
    again = list(parts_of(long_film, encoder, images))
    assert [len(part) for part in again] == [50, 50, 30]
    np.testing.assert_array_equal(again[0], expected)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in files(images)}.items()


def test_a_damaged_part_is_named_and_made_again(
    long_film: Path, encoder: Encoder, images: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "PART_CLIPS", 50)
    expected = np.concatenate(list(parts_of(long_film, encoder, images)))
    damaged = files(images)[1]
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    fresh = Store(images.folder.parent, "images", images.header)
    with pytest.raises(StoreError, match=r"damaged, removed"):
        list(parts_of(long_film, encoder, fresh))
    again = np.concatenate(list(parts_of(long_film, encoder, fresh)))
    np.testing.assert_array_equal(again, expected)


def test_the_end_of_a_broken_video_is_an_error_in_parts_too(
    tmp_path: Path,
    long_film: Path,
    encoder: Encoder,
    images: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "PART_CLIPS", 50)
    path = copy(long_film, tmp_path / "v.mkv")
    file = inspect(path, tmp_path)
    path.write_bytes(b"no video any more")
    file = replace(file, state=file_state(path))  # as if it had been so when it was hashed
    with pytest.raises(VideoError, match="not readable as a video"):
        list(token_parts(file, encoder=encoder, frames=HEADER, images=images))
    assert files(images) == []


@pytest.mark.parametrize("most", [50, 300], ids=["in parts", "whole"])
def test_a_video_replaced_after_it_was_hashed_leaves_nothing_under_its_key(
    tmp_path: Path,
    long_film: Path,
    encoder: Encoder,
    images: Store,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
) -> None:
    monkeypatch.setattr(features, "PART_CLIPS", most)
    path = copy(long_film, tmp_path / "v.mkv")
    file = inspect(path, tmp_path)
    parts = token_parts(file, encoder=encoder, frames=HEADER, images=images)
    if most == 50:
        next(parts)  # is of the film that was hashed
    before = files(images)
    slow_film(path, 300)
    with pytest.raises(VideoChangedError, match="changed while it was read"):
        list(parts)
    assert files(images) == before


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """Two hours take as much as ten minutes (with frames of 224 pixels they would be 540 MB)."""
    peaks = []
    for seconds in (600, 7200):
        path = slow_film(tmp_path / f"{seconds}.mkv", seconds)
        code = (
            "import resource, sys; from pathlib import Path\n"
            "from hlclip.video import stream_frames\n"
            f"header = {dict(HEADER, size=224)!r}\n"
            "n = sum(map(len, stream_frames(Path(sys.argv[1]), header, most=25)))\n"
            "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, check=True)
        clips, peak = map(int, done.stdout.split())
        assert clips == seconds / 2
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 20
