"""The sampled frame is the one that is shown at the clip's middle, with the field's own pixels."""

import itertools
import math
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import hlclip.video.ffmpeg_process
from hlclip.formats.annotations import Annotation
from hlclip.formats.data_sets import MOST_TIMED_CLIPS, Clips
from hlclip.formats.manifests import Index, Manifest, Video, VideoInfo, write_manifests
from hlclip.params import DataParams, FramesParams
from hlclip.pipeline.frames import make_frames
from hlclip.pipeline.index import build_index
from hlclip.pipeline.missing import TooManyMissingError
from hlclip.store.store import Store
from hlclip.system.files import sha256_of
from hlclip.video.container import probe
from hlclip.video.files import VideoChangedError
from hlclip.video.frames import Decoder, extract_frames, frames_header
from hlclip.video.pyav_frames import sampled_frames
from hlclip.video.refusals import VideoError
from tests.films import constant, copy, ffmpeg, film, need_encoder, numbered_film, numbers

SHORTEST = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="ffmpeg")
HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
NTSC = Fraction(30000, 1001)


def shown_at_middles(path: Path, clips: Clips) -> list[int]:
    """The naive twin: decode everything, and take what stood on the screen just before a middle."""
    times: list[Fraction] = []
    pictures: list[Any] = []
    end = Fraction(0)
    with av.open(str(path)) as container:
        start = Fraction(container.start_time or 0, av.time_base)
        for frame in container.decode(container.streams.video[0]):
            assert frame.pts is not None
            assert frame.time_base is not None
            times.append(frame.pts * frame.time_base - start)
            end = max(end, times[-1] + frame.duration * frame.time_base)
            pictures.append(frame.to_ndarray(format="rgb24"))
    if isinstance(clips, tuple):  # a microsecond before it, so that rounded times change nothing
        near = Fraction(1, 1_000_000)
        middles = [Fraction(str(round((a + b) / 2, 6))) - near for a, b in clips]
        middles = [middle for middle in middles if middle <= end]
    else:
        clip = Fraction(clips)
        count = math.floor(end / clip + Fraction(1, 2))
        middles = [clip * (k + Fraction(1, 2)) for k in range(count)]
    shown = numbers(np.stack(pictures))
    chosen = []
    for middle in middles:
        chosen.append([n for n, time in zip(shown, times, strict=True) if time < middle][-1:])
    first = next(filter(None, chosen))  # stands for the time before there is a picture
    return [(before or first)[0] for before in chosen]


# The frame that the field's sampling picks


@pytest.mark.parametrize("clip_seconds", [0.5, 2.0, 3.0])
@pytest.mark.parametrize("rate", [24, 25, NTSC, 60], ids=str)
def test_constant_frame_rates(tmp_path: Path, rate: Fraction, clip_seconds: float) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(rate, 7.4))
    sampled = numbers(extract_frames(path, {**HEADER, "clip_seconds": clip_seconds}))
    assert sampled == shown_at_middles(path, clip_seconds)
    middles = [clip_seconds * (k + 0.5) for k in range(math.floor(7.4 / clip_seconds + 0.5))]
    assert sampled == [math.ceil(t * rate) - 1 for t in middles]  # number n is shown from n / rate


PAUSE = [*constant(25, 3), *(8 + time for time in constant(10, 4))]
SLOWER = [Fraction(n * (n + 30), 1000) for n in range(90)]
JITTER = [
    Fraction(n, 30) + Fraction(int(late), 1000)
    for n, late in enumerate(np.random.default_rng(0).integers(0, 30, 290))
]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("times", [PAUSE, SLOWER, JITTER], ids=["pause", "slower", "jitter"])
def test_variable_frame_rates(tmp_path: Path, times: list[Fraction], name: str) -> None:
    codec = "ffv1" if name.endswith("mkv") else "mpeg4"
    path = numbered_film(tmp_path / name, times, codec=codec)
    assert numbers(extract_frames(path, HEADER)) == shown_at_middles(path, 2.0)


@pytest.mark.parametrize("late_seconds", [0.3, 1.5, 5, 6.5])
def test_a_video_that_begins_after_its_sound(tmp_path: Path, late_seconds: float) -> None:
    silent, path = tmp_path / "silent.mkv", tmp_path / "a.mkv"
    numbered_film(silent, constant(25, 6), first=1)
    sound = ("-f", "lavfi", "-i", "anullsrc", "-t", late_seconds + 6)
    ffmpeg("-itsoffset", late_seconds, "-i", silent, *sound, "-c:v", "copy", path)
    sampled = numbers(extract_frames(path, HEADER))
    assert sampled == shown_at_middles(path, 2.0)
    assert len(sampled) == math.floor((late_seconds + 6) / 2 + 0.5)


@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.mp4"])
def test_a_recording_that_begins_late(tmp_path: Path, name: str) -> None:
    plain = numbered_film(tmp_path / "plain.mkv", constant(25, 6.4))
    ffmpeg("-i", plain, "-c:v", "mpeg4", "-q:v", 2, "-output_ts_offset", 1000, tmp_path / name)
    assert numbers(extract_frames(tmp_path / name, HEADER)) == [24, 74, 124]


def test_a_picture_that_changes_its_size(tmp_path: Path) -> None:
    need_encoder("libvpx")
    names = []
    for n, side in enumerate((32, 64, 48)):
        raw = numbered_film(tmp_path / f"{n}.mkv", constant(25, 5), first=125 * n, side=side)
        ffmpeg("-i", raw, "-c:v", "libvpx", "-crf", 4, "-b:v", "2M", tmp_path / f"{n}.webm")
        names.append(f"file {n}.webm\n")
    (tmp_path / "list").write_text("".join(names))
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c", "copy", tmp_path / "a.webm")
    sampled = numbers(extract_frames(tmp_path / "a.webm", HEADER))
    expected = [25 * (2 * k + 1) - 1 for k in range(8)]
    # ffmpeg builds its filters again at 5 s and 10 s. The clip that is cut there, the third, may
    # show the next one's picture. No clip moves, though, and none comes twice.
    assert [*sampled[:2], *sampled[3:]] == [*expected[:2], *expected[3:]]
    assert sampled[2] in expected[2:4]


@pytest.mark.parametrize("seconds", [1, 1.04, 2.96, 3, 3.04, 5, 5.28, 7, 8.96])
def test_as_many_frames_as_clips_rounded(tmp_path: Path, seconds: float) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(25, seconds))
    assert len(extract_frames(path, HEADER)) == math.floor(seconds / 2 + 0.5)


def test_shorter_than_half_a_clip(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(25, 0.8))
    with pytest.raises(VideoError, match=r"no frame could be decoded: shorter than .* \(1 s\)"):
        extract_frames(path, HEADER)
    assert len(extract_frames(path, {**HEADER, "clip_seconds": 0.4})) == 2


def test_as_long_as_in_the_data_set_and_longer(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(2, 301))
    assert numbers(extract_frames(path, HEADER)) == [2 * (2 * k + 1) - 1 for k in range(151)]


# Clips with times of their own

OVERLAPPING = tuple((k * Fraction(50, 30), (k * 50 + 100) / Fraction(30)) for k in range(7))
IRREGULAR = ((0, 0.1), (0, 0.5), (0.2, 0.5), (1, 4), (1, 4), (3.3, 3.4), (6, 9), (8, 13), (12, 20))


@pytest.mark.parametrize("decoder", ["ffmpeg", "pyav"])
@pytest.mark.parametrize("clips", [OVERLAPPING, IRREGULAR], ids=["overlapping", "irregular"])
@pytest.mark.parametrize("times", [constant(30, 9), PAUSE, JITTER], ids=["30", "pause", "jitter"])
def test_clips_of_given_times(
    tmp_path: Path, times: list[Fraction], clips: tuple[tuple[Any, Any], ...], decoder: Decoder
) -> None:
    need_encoder("libx264")
    raw = numbered_film(tmp_path / "raw.mkv", times)
    codec = ["-c:v", "libx264", "-qp", 0, "-bf", 2, "-g", 20]
    ffmpeg("-i", raw, "-fps_mode", "passthrough", *codec, tmp_path / "a.mp4")
    path = tmp_path / "a.mp4"
    given = tuple((round(float(a), 6), round(float(b), 6)) for a, b in clips)
    frames = extract_frames(path, HEADER, decoder, clips=given)
    assert numbers(frames) == shown_at_middles(path, given)
    if decoder == "pyav":
        np.testing.assert_array_equal(
            frames,
            list(sampled_frames(path, HEADER, clips=given, confirm=lambda look, frame: None)),
        )


def test_given_times_of_regular_clips_have_the_frames_of_regular_clips(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", JITTER)
    regular = tuple((2.0 * k, 2.0 * k + 2) for k in range(9))
    expected = extract_frames(path, HEADER)
    assert len(expected) < len(regular)
    np.testing.assert_array_equal(extract_frames(path, HEADER, clips=regular), expected)
    one_second = extract_frames(path, {**HEADER, "clip_seconds": 1.0})
    np.testing.assert_array_equal(extract_frames(path, HEADER, clips=1.0), one_second)


def test_given_times_before_the_first_picture_and_after_the_last(tmp_path: Path) -> None:
    silent, path = tmp_path / "silent.mkv", tmp_path / "a.mkv"
    numbered_film(silent, constant(25, 3), first=1)
    sound = ("-f", "lavfi", "-i", "anullsrc", "-t", 12)
    ffmpeg("-itsoffset", 2.5, "-i", silent, *sound, "-c:v", "copy", path)
    clips = ((0.0, 1.0), (1.0, 2.0), (2.0, 4.0), (5.0, 5.5), (6.0, 7.0), (9.0, 10.0), (20.0, 21.0))
    # Number n is shown from 2.5 s + (n - 1) / 25, the last one to the end of the sound. Before the
    # first picture the first sampled one stands for it, as with clips of one length.
    assert numbers(extract_frames(path, HEADER, clips=clips)) == [13, 13, 13, 69, 75, 75]


def test_a_video_that_ends_before_its_first_clip_has_no_frame(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(25, 3))
    with pytest.raises(VideoError, match="it ends before the middle of its first clip"):
        extract_frames(path, HEADER, clips=((4.0, 5.0),))


def test_as_many_given_times_as_are_allowed(tmp_path: Path) -> None:
    path = numbered_film(tmp_path / "a.mkv", constant(25, 3))
    clips = tuple((k / 1000.7, k / 1000.7 + 1 / 3) for k in range(MOST_TIMED_CLIPS))
    assert numbers(extract_frames(path, HEADER, clips=clips)) == shown_at_middles(path, clips)


# The pixels that the field's preprocessing gives


def field_size(width: float, height: float, size: int) -> tuple[int, int]:
    """As HERO's extractor computes it, from which the field's CLIP features come."""
    if height >= width:
        return size, int(height * size / width)
    return int(width * size / height), size


def field_frames(
    path: Path, width: int, height: int, size: int, *, clip_seconds: float = 2
) -> NDArray[np.uint8]:
    filters = f"fps=1/{clip_seconds},scale={width}:{height},crop={size}:{size}"
    raw = ffmpeg("-i", path, "-vf", filters, "-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:")
    return np.frombuffer(raw, np.uint8).reshape(-1, size, size, 3)


SIZES = [(96, 64), (64, 96), (64, 64), (97, 61), (61, 97), (33, 500), (500, 33), (1, 1), (8, 93)]


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv444p", "bgr0"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_pixels_are_the_fields(tmp_path: Path, width: int, height: int, pixels: str) -> None:
    colour = ("-c:v", "ffv1", "-pix_fmt", pixels)
    path = film(tmp_path / "a.mkv", *colour, size=f"{width}x{height}", seconds=5)
    expected = field_frames(path, *field_size(width, height, 32), 32)
    assert len(expected) == 3
    np.testing.assert_array_equal(extract_frames(path, HEADER), expected)


def test_every_shape_has_the_fields_size(tmp_path: Path) -> None:
    # Where `64 / (width / height)` rounds twice it is one pixel too few.
    shapes = [
        (w, h)
        for w, h in itertools.product(range(8, 60), range(60, 200))
        if int(64 * h / w) != int(64 / (w / h))
    ]
    assert shapes
    for width, height in shapes[:: max(1, len(shapes) // 4)]:
        path = tmp_path / f"{width}x{height}.mkv"
        film(path, "-c:v", "ffv1", size=f"{width}x{height}", seconds=2)
        expected = field_frames(path, *field_size(width, height, 64), 64)
        np.testing.assert_array_equal(extract_frames(path, {**HEADER, "size": 64}), expected)


@pytest.mark.parametrize(("ratio", "width", "height"), [("2", 64, 32), ("1/3", 32, 96)])
def test_pixels_that_are_not_square(tmp_path: Path, ratio: str, width: int, height: int) -> None:
    path = film(tmp_path / "a.mkv", "-vf", f"setsar={ratio}", "-c:v", "ffv1", size="64x64")
    expected = field_frames(path, width, height, 32)
    np.testing.assert_array_equal(extract_frames(path, HEADER), expected)


def test_squash_keeps_the_whole_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1", size="96x40")
    squashed = extract_frames(path, {**HEADER, "resize": "squash"})
    np.testing.assert_array_equal(squashed, field_frames(path, 32, 32, 32))


def test_bilinear_is_another_picture(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", "-c:v", "ffv1")
    bilinear = extract_frames(path, {**HEADER, "interpolation": "bilinear"})
    assert bilinear.shape == (3, 32, 32, 3)
    assert (bilinear != extract_frames(path, HEADER)).any()


def difference(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_rotation(tmp_path: Path, quarters: int) -> None:
    upright = film(tmp_path / "upright.mp4", "-c:v", "mpeg4", "-q:v", 2)
    turned = tmp_path / "turned.mp4"
    try:
        ffmpeg("-display_rotation", 90 * quarters, "-i", upright, "-c", "copy", turned)
    except subprocess.CalledProcessError:
        pytest.skip("this ffmpeg has no -display_rotation")
    expected = extract_frames(upright, HEADER)
    frames = extract_frames(turned, HEADER)
    differences = [difference(frames, np.rot90(expected, q, axes=(1, 2))) for q in range(4)]
    # Not zero: chroma is sampled at other places, and the picture has sharp edges.
    assert differences[quarters] < 0.6 * min(differences[:quarters] + differences[quarters + 1 :])
    sides = (32, 48) if quarters % 2 else (48, 32)
    np.testing.assert_array_equal(frames, field_frames(turned, *sides, 32))


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_in_real_files(videos_dir: Path, degrees: int) -> None:
    path = videos_dir / f"decord_video_{degrees}.mov"
    coded = probe(path)
    upright = (coded.height, coded.width) if degrees % 180 else (coded.width, coded.height)
    frames = extract_frames(path, {**HEADER, "clip_seconds": 0.05})  # it lasts 0.1 s
    expected = field_frames(path, *field_size(*upright, 32), 32, clip_seconds=0.05)
    assert len(frames) == 2
    np.testing.assert_array_equal(frames, expected)


# Codecs and streams


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("libx264", []),
        ("libx264", ["-pix_fmt", "yuv420p10le"]),
        ("libx264", ["-color_range", "pc", "-pix_fmt", "yuvj420p"]),
        ("libx265", ["-x265-params", "log-level=none"]),
        ("libvpx", ["-b:v", "1M"]),
        ("libvpx-vp9", ["-b:v", "1M", "-cpu-used", 8]),
        ("libsvtav1", ["-preset", 12]),
        ("libaom-av1", ["-cpu-used", 8, "-usage", "realtime"]),
        ("mjpeg", ["-pix_fmt", "yuvj420p"]),
    ],
)
def test_codecs(tmp_path: Path, encoder: str, options: list[object]) -> None:
    need_encoder(encoder)
    plain = numbered_film(tmp_path / "plain.mkv", constant(10, 5), side=64)
    path = tmp_path / "a.mkv"
    ffmpeg("-i", plain, "-c:v", encoder, *options, path)
    assert numbers(extract_frames(path, HEADER)) == [9, 29, 49]


@pytest.mark.parametrize(("pixels", "span"), [("yuv420p", "tv"), ("yuvj420p", "pc")])
def test_full_and_limited_range_give_the_same_colours(
    tmp_path: Path, pixels: str, span: str
) -> None:
    path = tmp_path / "a.mkv"
    gray = ("-f", "lavfi", "-i", "color=0xC8C8C8:s=64x64:r=10:d=2,format=rgb24")
    ffmpeg(
        *gray,
        "-c:v",
        "mjpeg",
        "-q:v",
        1,
        "-strict",
        -1,
        "-pix_fmt",
        pixels,
        "-color_range",
        span,
        path,
    )
    assert difference(extract_frames(path, HEADER), np.full((1, 32, 32, 3), 200, np.uint8)) < 3


def test_the_first_of_several_video_streams(tmp_path: Path) -> None:
    one, two = (numbered_film(tmp_path / f"{n}.mkv", constant(10, 6), first=n) for n in (0, 1000))
    maps = ("-map", 2, "-map", 0, "-map", 1, "-c:v", "copy", "-disposition:v:1", "default")
    ffmpeg("-i", one, "-i", two, "-f", "lavfi", "-i", "anullsrc=d=6", *maps, tmp_path / "a.mkv")
    assert numbers(extract_frames(tmp_path / "a.mkv", HEADER)) == [9, 29, 49]


NAMES = [
    "with space",
    'it\'s "quoted"',
    "-i",
    "%d%03d",
    "a:b",
    "http:",
    "new\nline",
    "ü日",
    "a,b[c];d",
]


@pytest.mark.parametrize("name", NAMES)
def test_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = numbered_film(tmp_path / "plain.mkv", constant(10, 6))
    monkeypatch.chdir(copy(plain, tmp_path / "folder" / name).parent)
    assert numbers(extract_frames(Path(name), HEADER)) == [9, 29, 49]


@pytest.mark.parametrize(
    "name",
    [
        "torchcodec_h264_10bits.mp4",
        "torchcodec_h265_10bits.mp4",
        "torchcodec_av1_video.mkv",
        "torchcodec_bt709_full_range.mp4",
        "mdn_flower-fragmented.mp4",
        "torchcodec_nasa_13013.mp4",
        "decord_corrupted.mp4",
    ],
)
def test_real_files(videos_dir: Path, name: str) -> None:
    path = videos_dir / name
    frames = extract_frames(path, HEADER)
    assert len(frames) == math.floor(probe(path).duration / 2 + 0.5)
    assert (frames.reshape(len(frames), -1).std(axis=1) > 5).all()  # no flat picture
    np.testing.assert_array_equal(frames, extract_frames(path, HEADER))


def outcome(path: Path) -> str:
    try:
        return str(extract_frames(path, HEADER).sum(axis=(1, 2, 3)))
    except VideoError as error:
        return str(error)


def test_damage_has_the_same_outcome_in_every_run(tmp_path: Path) -> None:
    need_encoder("libx264")
    whole = film(tmp_path / "whole.mp4", "-c:v", "libx264").read_bytes()
    random = np.random.default_rng(0)
    for damage in range(12):
        content = bytearray(whole)
        for at in random.integers(0, len(whole), 4 ** (damage // 3)):
            content[at] ^= 0xFF
        path = tmp_path / "damaged.mp4"
        path.write_bytes(content[: int(len(whole) * (0.6 if damage % 3 == 0 else 1))])
        first = outcome(path)
        assert first == outcome(path)
        assert "0x" not in first


# The stage


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Index]:
    """Four good videos, two bad ones, one that the index already misses."""
    root = tmp_path_factory.mktemp("data")
    for n in range(4):
        numbered_film(root / f"good{n}.mkv", constant(10, 4 + n), first=100 * n)
    numbered_film(root / "short.mkv", constant(10, 0.5))
    (root / "words.mp4").write_text("words")
    vids = [path.stem for path in sorted(root.iterdir())]
    rows = [
        Annotation.model_validate({"qid": n, "query": "a cat", "vid": vid, "duration": 4})
        for n, vid in enumerate([*vids, "gone"])
    ]
    info = VideoInfo(4.0, 32, 32, "ffv1")
    videos = {p.stem: Video(p.name, sha256_of(p), info) for p in sorted(root.iterdir())}
    return root, Index(2.0, {"val": rows}, videos, {"gone": "no file videos/gone.*"})


def made(data: tuple[Path, Index], store: Path, *, max_missing: float = 0.5) -> Manifest:
    return make_frames(data[1], SHORTEST, data_root=data[0], store=store, max_missing=max_missing)


def test_good_videos_are_there_and_bad_ones_are_named(
    data: tuple[Path, Index], tmp_path: Path
) -> None:
    manifest = made(data, tmp_path)
    assert manifest.header == HEADER
    assert {vid: item.length for vid, item in manifest.items.items()} == {
        "good0": 2,
        "good1": 3,
        "good2": 3,
        "good3": 4,
    }
    store = Store(tmp_path, "frames", manifest.header)
    for n in range(4):
        sampled = numbers(store.read(manifest.items[f"good{n}"]))
        assert sampled == [100 * n + 20 * k + 9 for k in range(len(sampled))]
    assert manifest.failed["gone"] == "no file videos/gone.*"
    assert manifest.failed["short"].startswith("short.mkv: no frame could be decoded: shorter")
    assert manifest.failed["words"].startswith("words.mp4: not readable as a video")
    assert manifest.failed.keys() == {"gone", "short", "words"}


def test_too_many_bad_ones_cost_no_good_one(
    data: tuple[Path, Index], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TooManyMissingError, match="3 of 7 videos"):
        made(data, tmp_path, max_missing=0.4)
    there = sorted(tmp_path.rglob("*.h5"))
    assert len(there) == 4
    good = {vid: video for vid, video in data[1].videos.items() if vid.startswith("good")}
    index = Index(data[1].clip_seconds, data[1].queries, good, {})
    monkeypatch.setattr(hlclip.video.ffmpeg_process, "ffmpeg_executable", lambda: "/nowhere/ffmpeg")
    assert made((data[0], index), tmp_path).items.keys() == good.keys()  # nothing was decoded
    assert sorted(tmp_path.rglob("*.h5")) == there


def test_a_split_of_which_nothing_decodes_is_an_error(
    data: tuple[Path, Index], tmp_path: Path
) -> None:
    root, index = data
    broken = [row for row in index.queries["val"] if row.vid in ("gone", "words")]
    more = Index(index.clip_seconds, index.queries | {"test": broken}, index.videos, index.missing)
    with pytest.raises(TooManyMissingError, match="none of the 2 videos of test"):
        make_frames(
            more,
            SHORTEST,
            data_root=root,
            store=tmp_path,
            max_missing=0.5,
            needed={"test": "evaluate.splits names it"},
        )


def test_two_stores_give_the_same_manifest(data: tuple[Path, Index], tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_manifests(tmp_path / f"{name}.json", frames=made(data, tmp_path / name))
    written = (tmp_path / "one.json").read_bytes()
    assert written == (tmp_path / "two.json").read_bytes()
    assert str(tmp_path).encode() not in written
    assert str(data[0]).encode() not in written
    files = [sorted((tmp_path / name).rglob("*.h5")) for name in ("one", "two")]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_other_parameters_are_other_items(data: tuple[Path, Index], tmp_path: Path) -> None:
    first = made(data, tmp_path)
    squash = SHORTEST.model_copy(update={"resize": "squash"})
    other = make_frames(data[1], squash, data_root=data[0], store=tmp_path, max_missing=0.5)
    assert not {i.key for i in first.items.values()} & {i.key for i in other.items.values()}
    assert made(data, tmp_path) == first


def test_videos_shorter_than_annotated_are_named(
    data: tuple[Path, Index], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row.model_copy(update={"duration": 6.0}) for row in data[1].queries["val"]]
    index = Index(2.0, {"val": rows}, data[1].videos, data[1].missing)
    made((data[0], index), tmp_path)
    assert "good0: 2 clips decoded, 3 annotated" in caplog.text
    assert "1 of 4 videos are shorter than annotated, 1 longer" in caplog.text


@pytest.mark.parametrize("cached", [True, False], ids=["hashes kept", "hashes lost"])
def test_frames_are_of_the_file_that_was_hashed(tmp_path: Path, cached: bool) -> None:
    """Otherwise the frames of one film lie under the key of another, and are served for ever."""
    row = Annotation(qid=1, query="q", vid="a", duration=4, relevant_clip_ids=None)
    (tmp_path / "rows.jsonl").write_text(row.model_dump_json(exclude_none=True) + "\n")
    data = DataParams(
        root=str(tmp_path),
        annotations={"test": "rows.jsonl"},
        videos="videos",
        clip_seconds=2.0,
        max_missing=1.0,
    )
    (tmp_path / "videos").mkdir()
    path, store = tmp_path / "videos/a.mkv", tmp_path / "store"
    original = numbered_film(tmp_path / "original.mkv", constant(10, 4))
    other = numbered_film(tmp_path / "other.mkv", constant(10, 4), first=500)

    def index() -> Index:
        return build_index(data, cache=store / "videos.json" if cached else tmp_path / "none.json")

    def frames(index: Index) -> Manifest:
        return make_frames(index, SHORTEST, data_root=tmp_path, store=store, max_missing=1.0)

    copy(original, path)
    before = index()
    copy(other, path)
    with pytest.raises(
        VideoChangedError, match=r"a\.mkv: is no longer the file.*\n`dvc repro --force index`"
    ):
        frames(before)
    copy(original, path)
    manifest = frames(index())
    pictures = Store(store, "frames", manifest.header).read(manifest.items["a"])
    assert numbers(pictures) == [9, 29]
