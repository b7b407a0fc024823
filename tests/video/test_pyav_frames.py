"""`frames.decoder: auto` decodes less and gives the same pixels; what it cannot, ffmpeg decodes."""

import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import Header, Index, Video
from hlclip.params import FramesParams
from hlclip.pipeline.frames import make_frames
from hlclip.system.files import sha256_of
from hlclip.video.container import probe
from hlclip.video.ffmpeg_process import FFmpegProcess, ffmpeg_executable
from hlclip.video.frames import Decoder, extract_frames, frames_header, stream_frames
from hlclip.video.h264_headers import UnsuitedError
from hlclip.video.h264_packets import describe, parameter_sets, read_packets
from hlclip.video.pyav_frames import needed_packets, sampled_frames
from hlclip.video.refusals import VideoError
from tests.films import ffmpeg, film, need_encoder, numbered_film

PARAMS = FramesParams(size=32, resize="shortest", interpolation="bicubic", decoder="auto")
HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
NOISE = "noise=alls=20:allf=t+u:all_seed=1"


def h264(path: Path, *options: object, x264: str = "", rate: object = 25, seconds: float = 21):
    """A moving, noisy picture: a wrong reference changes every pixel after it."""
    need_encoder("libx264")
    source = f"testsrc2=s=96x64:r={rate}:d={seconds},{NOISE}"
    encoder = ("-c:v", "libx264", "-preset", "veryfast", "-x264-params", x264 or "keyint=50")
    ffmpeg("-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", *encoder, *options, path)
    return path


def sampled(path: Path, header: Header = HEADER) -> NDArray[np.uint8]:
    return np.stack(list(sampled_frames(path, header, confirm=lambda look, frame: None)))


def assert_same_pixels(path: Path, clip_seconds: float = 2.0) -> None:
    header = {**HEADER, "clip_seconds": clip_seconds}
    found = sampled(path, header)
    np.testing.assert_array_equal(found, extract_frames(path, header, "ffmpeg"))


def assert_left_to_ffmpeg(path: Path) -> None:
    found = extract_frames(path, HEADER, "auto")
    np.testing.assert_array_equal(found, extract_frames(path, HEADER, "ffmpeg"))


STREAMS = {
    "default": "",
    "no B-frames": "bframes=0:keyint=50",
    "B-pyramid": "bframes=8:b-adapt=0:b-pyramid=normal:ref=6:keyint=120",
    "strict B-pyramid": "bframes=5:b-adapt=0:b-pyramid=strict:keyint=60",
    "open GOP": "open-gop=1:bframes=4:b-adapt=0:keyint=40",
    "open GOP of half a clip": "open-gop=1:bframes=3:b-adapt=0:b-pyramid=normal:keyint=25",
    "one GOP": "keyint=infinite:bframes=3:b-adapt=0",
    "intra refresh": "intra-refresh=1:keyint=50",
    "all intra": "keyint=1",
    "many references": "ref=16:bframes=3:weightp=2:keyint=200:min-keyint=200:scenecut=0",
    "slices": "slices=4:keyint=75",
    "CAVLC": "cabac=0:bframes=3:b-adapt=0:keyint=75",
    "a GOP longer than a clip": "keyint=133:min-keyint=133:scenecut=0:bframes=2:b-adapt=0",
}


@pytest.mark.parametrize("x264", STREAMS.values(), ids=STREAMS.keys())
def test_structures_of_a_stream(tmp_path: Path, x264: str) -> None:
    assert_same_pixels(h264(tmp_path / "a.mp4", x264=x264))


@pytest.mark.parametrize("clip_seconds", [0.5, 1 / 3, 2.0, 5.0])
@pytest.mark.parametrize("rate", ["24", "30000/1001", "60"])
def test_rates_and_lengths_of_clips(tmp_path: Path, rate: str, clip_seconds: float) -> None:
    assert_same_pixels(h264(tmp_path / "a.mp4", rate=rate, seconds=7.4), clip_seconds)


@pytest.mark.parametrize("name", ["a.mkv", "a.mov", "a.m4v"])
def test_containers(tmp_path: Path, name: str) -> None:
    assert_same_pixels(h264(tmp_path / name))


@pytest.mark.parametrize("name", ["a.ts", "a.avi", "a.flv", "a.h264"])
def test_containers_without_a_time_for_each_picture(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsuitedError, match=r"time stamps of .* are not of single pictures"):
        sampled(h264(tmp_path / name, seconds=2))


def test_fragments(tmp_path: Path) -> None:
    flags = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
    assert_same_pixels(h264(tmp_path / "a.mp4", *flags))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize("seed", range(4))
def test_variable_frame_rates(tmp_path: Path, name: str, seed: int) -> None:
    need_encoder("libx264")
    random = np.random.default_rng(seed)
    steps = random.choice([20, 33, 40, 100, 1500, 4100], 120, p=[0.3, 0.3, 0.2, 0.1, 0.06, 0.04])
    times = [Fraction(int(ms), 1000) for ms in np.cumsum([0, *steps])]
    raw = numbered_film(tmp_path / "raw.mkv", times)
    encoder = ("-c:v", "libx264", "-x264-params", "bframes=3:b-adapt=0:keyint=30")
    ffmpeg(
        "-i",
        raw,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        "1:60000",
        *encoder,
        tmp_path / name,
    )
    assert_same_pixels(tmp_path / name)


@pytest.mark.parametrize("late", [0.3, 1.5, 5])
def test_a_picture_that_begins_after_the_sound(tmp_path: Path, late: float) -> None:
    silent = h264(tmp_path / "silent.mp4", seconds=6)
    sound = ("-f", "lavfi", "-i", "anullsrc", "-t", late + 6)
    path = tmp_path / "a.mkv"
    ffmpeg("-itsoffset", late, "-i", silent, *sound, "-c:v", "copy", path)
    assert_same_pixels(path)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
def test_a_recording_that_begins_late(tmp_path: Path, name: str) -> None:
    assert_same_pixels(h264(tmp_path / name, "-output_ts_offset", 1000))


@pytest.mark.parametrize("start", [1.3, 2.0])
def test_cut_by_copying_packets(tmp_path: Path, start: float) -> None:
    """An edit list hides pictures that must be decoded but not shown: left to ffmpeg, or equal."""
    whole = h264(tmp_path / "whole.mp4", x264="keyint=50:bframes=3:b-adapt=0")
    path = tmp_path / "a.mp4"
    ffmpeg("-ss", start, "-i", whole, "-c", "copy", path)
    assert_left_to_ffmpeg(path)


@pytest.mark.parametrize("look", ["full range", "4:4:4", "10 bit", "wide pixels", "odd size"])
def test_pictures(tmp_path: Path, look: str) -> None:
    options = {
        "full range": ("-vf", "scale=out_range=full:out_color_matrix=bt709", "-color_range", "pc"),
        "4:4:4": ("-pix_fmt", "yuv444p"),
        "10 bit": ("-pix_fmt", "yuv420p10le"),
        "wide pixels": ("-vf", "setsar=4/3"),
        "odd size": ("-vf", "scale=97:53", "-pix_fmt", "yuv444p"),
    }
    assert_same_pixels(h264(tmp_path / "a.mp4", *options[look], seconds=5))


def test_less_is_decoded(tmp_path: Path) -> None:
    path = h264(tmp_path / "a.mp4", x264="keyint=100:bframes=3:b-adapt=0:b-pyramid=none")
    packets = read_packets(path)[0]
    middles = frozenset(packet.pts for packet in packets[25::50])
    assert sum(needed_packets(packets, middles)) < 0.45 * len(packets)


def test_pictures_of_cavlc_are_not_skipped_before_a_sample(tmp_path: Path) -> None:
    """Their damage spreads in ffmpeg's decoder to pictures that do not refer to them."""
    x264 = "keyint=100:bframes=3:b-adapt=0:cabac="
    kinds = [
        {packet.kind for packet in read_packets(h264(tmp_path / "a.mp4", x264=x264 + cabac))[0]}
        for cabac in "10"
    ]
    assert kinds == [{"idr", "reference", "disposable"}, {"idr", "reference"}]


def test_interlaced_is_left_to_ffmpeg(tmp_path: Path) -> None:
    path = h264(tmp_path / "a.mp4", x264="tff=1", seconds=5)
    with pytest.raises(UnsuitedError, match="fields have an order"):
        sampled(path)


@pytest.mark.parametrize("filters", ["-display_rotation:v:0", "-display_hflip:v:0"])
def test_rotated_and_mirrored_are_left_to_ffmpeg(tmp_path: Path, filters: str) -> None:
    plain = h264(tmp_path / "plain.mp4", seconds=5)
    path = tmp_path / "a.mp4"
    value = (90,) if "rotation" in filters else ()
    ffmpeg(filters, *value, "-i", plain, "-c", "copy", path)
    with pytest.raises(UnsuitedError, match="rotated"):
        sampled(path)
    assert_left_to_ffmpeg(path)


def test_another_codec_is_left_to_ffmpeg(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", "-c:v", "mpeg4")
    with pytest.raises(UnsuitedError, match="the codec is mpeg4"):
        sampled(path)
    assert_left_to_ffmpeg(path)


def test_two_sizes_in_one_stream_are_left_to_ffmpeg(tmp_path: Path) -> None:
    names = []
    for n, size in enumerate(("96x64", "64x96")):
        h264(tmp_path / f"{n}.mp4", "-s", size, "-x264-params", "repeat-headers=1", seconds=5)
        names.append(f"file {n}.mp4\n")
    (tmp_path / "list").write_text("".join(names))
    path = tmp_path / "a.mkv"
    ffmpeg("-f", "concat", "-i", tmp_path / "list", "-c", "copy", path)
    with pytest.raises(UnsuitedError, match="parameters change"):
        sampled(path)


def outcome(path: Path, header: Header, decoder: Decoder) -> NDArray[np.uint8] | str:
    try:
        return extract_frames(path, header, decoder)
    except VideoError as error:
        return str(error)


def packet_places(path: Path) -> list[tuple[int, int]]:
    """First byte and size of each packet."""
    with av.open(str(path)) as container:
        return [(p.pos or 0, p.size) for p in container.demux(video=0) if p.size]


def damaged(path: Path, seed: int, *, seconds: float = 8) -> Path:
    """A film with bytes turned at random, and every fifth cut off."""
    h264(path, seconds=seconds, x264="keyint=50:bframes=3:b-adapt=0")
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    if seed % 5 == 4:
        del content[int(random.integers(len(content) // 2, len(content))) :]
    for place in random.integers(0, len(content), 1 + seed % 3):
        content[place] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("seed", range(30))
def test_damage_gives_what_ffmpeg_gives(tmp_path: Path, seed: int) -> None:
    """Equal pixels or left to ffmpeg; never other pixels, never a crash."""
    path = damaged(tmp_path / "a.mp4", seed)
    found, expected = (outcome(path, HEADER, decoder) for decoder in ("auto", "ffmpeg"))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("seed", [89, 188, 327])
def test_damage_that_is_concealed_without_an_error(tmp_path: Path, seed: int) -> None:
    """A reference picture is concealed; the sampled picture that refers to it looks whole."""
    path = h264(tmp_path / "a.mp4", x264="keyint=infinite:bframes=3:b-adapt=0", seconds=8)
    content, random = bytearray(path.read_bytes()), np.random.default_rng(seed)
    places = [place for place in packet_places(path)[6:] if content[place[0] + 4] >> 5 & 3]
    place, size = places[int(random.choice(range(len(places))))]
    content[place + int(random.integers(size // 3, size))] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    assert_left_to_ffmpeg(path)


def test_ffmpeg_goes_on_where_damage_begins(tmp_path: Path) -> None:
    path = h264(tmp_path / "a.mp4", x264="keyint=50:bframes=3:b-adapt=0")
    content = bytearray(path.read_bytes())
    for place, size in packet_places(path)[350::50]:
        content[place + size // 2 : place + size // 2 + 64] = bytes(range(64))
    path.write_bytes(content)
    first: list[NDArray[np.uint8]] = []
    with pytest.raises(UnsuitedError):
        first.extend(sampled_frames(path, HEADER, confirm=lambda look, frame: None))
    assert 3 <= len(first) <= 8
    pieces = list(stream_frames(path, HEADER, "auto", most=4))
    assert [len(piece) for piece in pieces] == [4, 4, 3][: len(pieces)]
    np.testing.assert_array_equal(np.concatenate(pieces), extract_frames(path, HEADER, "ffmpeg"))


@pytest.fixture
def other_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An ffmpeg on PATH whose scaler gives other pixels, as those of some builds do."""
    script = tmp_path / "bin/ffmpeg"
    script.parent.mkdir()
    real, other = imageio_ffmpeg.get_ffmpeg_exe(), "flags=bicubic+accurate_rnd+full_chroma_int"
    script.write_text(f'#!/bin/bash\nexec {real} "${{@//flags=bicubic/{other}}}"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    ffmpeg_executable.cache_clear()
    yield script
    monkeypatch.undo()
    ffmpeg_executable.cache_clear()


def test_an_ffmpeg_that_scales_otherwise_decodes_all(
    tmp_path: Path, other_ffmpeg: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = h264(tmp_path / "a.mp4", seconds=5)
    expected = extract_frames(path, HEADER, "ffmpeg")
    assert not np.array_equal(expected, sampled(path))
    np.testing.assert_array_equal(expected, extract_frames(path, HEADER, "auto"))
    assert not caplog.messages
    np.testing.assert_array_equal(expected, extract_frames(path, HEADER, "pyav"))
    assert "a.mp4: decoded by ffmpeg: this ffmpeg makes another frame" in caplog.text


def test_each_look_is_compared_with_ffmpeg_once(tmp_path: Path) -> None:
    """Looks of pictures that no other test has."""
    runs: list[str] = []

    def extract(name: str, size: str) -> None:
        path = h264(tmp_path / name, "-s", size, seconds=5)
        with pytest.MonkeyPatch.context() as patch:
            started = FFmpegProcess.__init__

            def start(process: FFmpegProcess, *given: object, **options: object) -> None:
                runs.append(name)
                started(process, *given, **options)  # type: ignore[arg-type] (passed on)

            patch.setattr(FFmpegProcess, "__init__", start)
            extract_frames(path, HEADER)

    for name, size in (("a.mp4", "86x58"), ("b.mp4", "86x58"), ("c.mp4", "88x58")):
        extract(name, size)
    assert runs == ["a.mp4", "c.mp4"]


def test_a_plain_picture_proves_nothing_of_scalers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need_encoder("libx264")
    path = tmp_path / "a.mp4"
    picture = "color=gray:s=82x58:r=25:d=5"
    ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-pix_fmt", "yuv420p", path)
    np.testing.assert_array_equal(sampled(path), extract_frames(path, HEADER, "pyav"))
    assert "its first frame is too plain to compare" in caplog.text


def test_large_pictures_are_left_to_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = h264(tmp_path / "a.mp4", seconds=5)
    # libav rounds the width up.
    monkeypatch.setattr("hlclip.video.pyav_frames._MOST_PIXELS", 128 * 64)
    assert len(sampled(path)) == 3
    monkeypatch.setattr("hlclip.video.pyav_frames._MOST_PIXELS", 128 * 64 - 1)
    with pytest.raises(UnsuitedError):
        sampled(path)
    assert_left_to_ffmpeg(path)


def test_real_files(videos_dir: Path, footage_dir: Path) -> None:
    compared = 0
    for path in sorted([*videos_dir.iterdir(), *(footage_dir / "videos").iterdir()]):
        header = {**HEADER, "clip_seconds": 0.4}
        try:
            next(sampled_frames(path, header, confirm=lambda look, frame: None))
        except UnsuitedError:
            continue
        found, expected = (outcome(path, header, decoder) for decoder in ("auto", "ffmpeg"))
        np.testing.assert_array_equal(found, expected, err_msg=path.name)
        compared += 1
    assert compared >= 8


def test_the_store_does_not_tell_decoders_apart(tmp_path: Path) -> None:
    (tmp_path / "data/videos").mkdir(parents=True)
    path = h264(tmp_path / "data/videos/a.mp4", seconds=6)
    rows = [Annotation(qid=1, query="q", vid="a", duration=6, relevant_clip_ids=None)]
    index = Index(
        2.0, {"test": rows}, {"a": Video("videos/a.mp4", sha256_of(path), probe(path))}, {}
    )
    made = [
        make_frames(
            index,
            PARAMS.model_copy(update={"decoder": decoder}),
            data_root=tmp_path / "data",
            store=tmp_path / decoder,
            max_missing=0,
        ).as_json()
        for decoder in ("ffmpeg", "auto", "pyav")
    ]
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("decoder", ["ffmpeg", "auto"])
def test_frames_that_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoder: Decoder
) -> None:
    path = h264(tmp_path / "a.mp4", seconds=6)
    size = extract_frames(path, HEADER, decoder).nbytes
    monkeypatch.setattr("hlclip.video.frames.MOST_BYTES", size - 1)
    with pytest.raises(VideoError, match="take more than"):
        extract_frames(path, HEADER, decoder)


def test_what_a_packet_says_of_itself() -> None:
    def unit(reference: int, kind: int) -> bytes:
        return bytes([reference << 5 | kind, 1, 2])

    def annex_b(*units: bytes) -> memoryview:
        return memoryview(b"".join(b"\0\0\0\1" + content for content in units))

    sequence, picture = unit(3, 7), unit(3, 8)
    slices, kind, parameters = describe(annex_b(sequence, picture, unit(3, 5)), 0)
    assert (slices, kind, parameters) == ([unit(3, 5)], "idr", {sequence, picture})
    assert describe(annex_b(unit(0, 6), unit(0, 1), unit(0, 1)), 0)[1:] == ("disposable", set())
    measured = b"".join(bytes([0, 0, 0, 3]) + content for content in (unit(0, 9), unit(1, 1)))
    assert describe(memoryview(measured), 4) == ([unit(1, 1)], "reference", frozenset())
    for bad in (b"", b"\0\0\0\1", b"\0\0\0\x09abc", b"\0\0\0\0", measured[:-1]):
        with pytest.raises(UnsuitedError):
            describe(memoryview(bad), 4)
    with pytest.raises(UnsuitedError, match="expected slices of one kind"):
        describe(annex_b(unit(0, 1), unit(1, 1)), 0)
    with pytest.raises(UnsuitedError, match="no start code"):
        describe(memoryview(b"abc"), 0)


def test_parameters_in_the_header_of_a_container(tmp_path: Path) -> None:
    found = []
    for name in ("a.mp4", "a.ts"):
        with av.open(str(h264(tmp_path / name, seconds=1))) as container:
            found.append(parameter_sets(container.streams.video[0].codec_context.extradata))
    assert [lengths for lengths, _ in found] == [4, 0]
    assert found[0][1] == found[1][1]
    assert sorted(unit[0] & 31 for unit in found[0][1]) == [7, 8]


@pytest.mark.parametrize("x264", ["keyint=infinite:bframes=3:b-adapt=0", "slices=4:keyint=40"])
def test_damaged_headers_of_skipped_pictures(tmp_path: Path, x264: str) -> None:
    """ffmpeg reads them, and takes other references for pictures that are sampled."""
    path = h264(tmp_path / "a.mp4", x264=x264, seconds=5)
    packets = read_packets(path)[0]
    skipped = [not need for need in needed_packets(packets, frozenset([packets[-1].pts]))]
    whole = path.read_bytes()
    places = [place for (place, _), skip in zip(packet_places(path), skipped, strict=True) if skip]
    different = 0
    for seed in range(24):
        random, content = np.random.default_rng(seed), bytearray(whole)
        place = int(random.choice(places)) + 5 + int(random.integers(6))
        content[place] ^= 1 << int(random.integers(8))
        path.write_bytes(content)
        with suppress(UnsuitedError):
            different += not np.array_equal(sampled(path), extract_frames(path, HEADER, "ffmpeg"))
    assert not different
