"""What a file says of itself, and that what is no video is refused with a reason."""

from collections.abc import Callable
from pathlib import Path

import pytest

from hlclip.video.container import probe
from hlclip.video.ffmpeg_process import ffmpeg_executable
from hlclip.video.frames import extract_frames
from hlclip.video.refusals import VideoError
from tests.films import copy, ffmpeg, film, need_encoder

HEADER = {"clip_seconds": 2.0, "size": 32, "resize": "shortest", "interpolation": "bicubic"}
SILENCE = ("-f", "lavfi", "-i", "anullsrc=d=4")
PICTURE = ("-f", "lavfi", "-i", "testsrc2=s=48x48:r=1:d=1")
COVER = ("-c:v:0", "mjpeg", "-pix_fmt:v:0", "yuvj420p", "-disposition:v:0", "attached_pic")


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("video") / "film.mp4", "-c:v", "mpeg4", seconds=5.3)


def test_ffmpeg_is_there() -> None:
    assert b"matroska" in ffmpeg("-hide_banner", "-demuxers")
    assert Path(ffmpeg_executable()).is_file()


@pytest.mark.parametrize(
    ("name", "encoder", "codec"),
    [
        ("a.mp4", "libx264", "h264"),
        ("a.mov", "mpeg4", "mpeg4"),
        ("a.avi", "mpeg4", "mpeg4"),
        ("a.webm", "libvpx", "vp8"),
        ("a.mkv", "ffv1", "ffv1"),
        ("a.ts", "mpeg2video", "mpeg2video"),
        ("a.gif", "gif", "gif"),
    ],
)
def test_facts(tmp_path: Path, name: str, encoder: str, codec: str) -> None:
    need_encoder(encoder)
    info = probe(film(tmp_path / name, "-c:v", encoder, size="98x62", seconds=3.3))
    assert info.duration == pytest.approx(3.3, abs=0.05)
    assert (info.width, info.height, info.codec) == (98, 62, codec)


def test_the_name_does_not_matter(tmp_path: Path, mp4: Path) -> None:
    for name in ("film", "film.txt", "a:b%d 'c'\n\".m3u8", "-i.png"):
        assert probe(copy(mp4, tmp_path / name)) == probe(mp4)


@pytest.mark.parametrize("begin", [0, 100])
@pytest.mark.parametrize("live", [True, False])
def test_webm_without_a_duration(tmp_path: Path, begin: int, live: bool) -> None:
    need_encoder("libvpx")
    path = tmp_path / "a.webm"
    late = ("-output_ts_offset", begin, "-c:v", "libvpx", "-f", "webm")
    if live:
        made = film(tmp_path / "b.mkv", "-c:v", "ffv1", seconds=4.5)
        path.write_bytes(ffmpeg("-i", made, *late, "pipe:"))
    else:
        film(path, *late, seconds=4.5)
    assert probe(path).duration == pytest.approx(4.5, abs=0.05)


@pytest.mark.parametrize("rate", [24, 30, 60])
def test_a_stream_without_times(tmp_path: Path, rate: int) -> None:
    need_encoder("libx264")
    source = ("-f", "lavfi", "-i", f"testsrc2=s=64x64:r={rate}:d=5.3", "-pix_fmt", "yuv420p")
    ffmpeg(*source, "-c:v", "libx264", tmp_path / "a.h264")
    assert probe(tmp_path / "a.h264").duration == pytest.approx(5.3, abs=0.05)
    assert len(extract_frames(tmp_path / "a.h264", HEADER)) == 3


def test_a_fragmented_mp4(tmp_path: Path, mp4: Path) -> None:
    flags = ("-movflags", "frag_keyframe+empty_moov+default_base_moof")
    ffmpeg("-i", mp4, "-c", "copy", *flags, tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4").duration == pytest.approx(5.3, abs=0.05)


def test_the_first_of_two_video_streams(tmp_path: Path) -> None:
    small, large = (film(tmp_path / f"{s}.mkv", "-c:v", "ffv1", size=s) for s in ("48x32", "96x80"))
    both = tmp_path / "both.mkv"
    for first, second, size in ((small, large, (48, 32)), (large, small, (96, 80))):
        maps = ("-map", 2, "-map", 0, "-map", 1)
        ffmpeg("-i", first, "-i", second, *SILENCE, *maps, "-c:v", "copy", both)
        info = probe(both)
        assert (info.width, info.height) == size


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    for name in ("song.mp3", "song.m4a"):
        song = tmp_path / name
        ffmpeg(*PICTURE, *SILENCE, "-map", 0, "-map", 1, *COVER, song)
        with pytest.raises(VideoError, match=r"no video stream \(streams: audio, video\)"):
            probe(song)
        with pytest.raises(VideoError):
            extract_frames(song, HEADER)


def test_the_video_beside_a_cover(tmp_path: Path, mp4: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg(*PICTURE, "-i", mp4, "-map", 0, "-map", 1, *COVER, "-c:v:1", "copy", path)
    assert (probe(path).width, probe(path).height) == (96, 64)
    assert (extract_frames(path, HEADER) == extract_frames(mp4, HEADER)).all()


def _text(path: Path, _mp4: Path) -> None:
    path.write_text("just some words\n" * 100)


def _empty(path: Path, _mp4: Path) -> None:
    path.touch()


def _folder(path: Path, _mp4: Path) -> None:
    path.mkdir()


def _absent(_path: Path, _mp4: Path) -> None:
    pass


def _sound(path: Path, _mp4: Path) -> None:
    ffmpeg(*SILENCE, "-f", "mp4", path)


def _image(path: Path, _mp4: Path) -> None:
    ffmpeg(*PICTURE, "-frames:v", 1, "-f", "image2", "-c:v", "png", "-update", 1, path)


def _webp(path: Path, _mp4: Path) -> None:
    path.write_bytes(b"RIFF\x1c\0\0\0WEBPVP8X" + bytes(16))


def _half_a_header(path: Path, mp4: Path) -> None:
    path.write_bytes(mp4.read_bytes()[:-200])  # the index of an mp4 stands at its end


def _unknown_codec(path: Path, _mp4: Path) -> None:
    film(path, "-c:v", "ffv1", "-f", "matroska")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_ZZZZ"))


def _hls(path: Path, mp4: Path) -> None:
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:5.3,\n{mp4.name}\n#EXT-X-ENDLIST\n"
    copy(mp4, path.parent / mp4.name)
    path.write_text(text)


def _concat(path: Path, mp4: Path) -> None:
    copy(mp4, path.parent / mp4.name)
    path.write_text(f"ffconcat version 1.0\nfile {mp4.name}\n")


@pytest.mark.parametrize("name", ["a.mp4", "a.txt", "a.m3u8", "a"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_text, "not readable as a video"),
        (_empty, "not readable as a video"),
        (_folder, "Is a directory"),
        (_absent, "No such file"),
        (_sound, r"no video stream \(streams: audio\)"),
        (_image, "not readable as a video"),
        (_webp, "is a WebP picture or animation"),
        (_half_a_header, "not readable as a video"),
        (_unknown_codec, "codec is unknown"),
        (_hls, "not readable as a video"),  # although the file that it points to is one
        (_concat, "not readable as a video"),
    ],
)
def test_what_is_no_video(
    tmp_path: Path, mp4: Path, name: str, make: Callable[[Path, Path], None], reason: str
) -> None:
    path = tmp_path / name
    make(path, mp4)
    with pytest.raises(VideoError, match=reason):
        probe(path)
    with pytest.raises(VideoError) as caught:
        extract_frames(path, HEADER)
    assert "0x" not in str(caught.value)


def test_a_title_in_another_encoding(tmp_path: Path) -> None:
    path = film(tmp_path / "a.avi", "-c:v", "mpeg4", "-metadata", "title=cafXX", seconds=2)
    path.write_bytes(path.read_bytes().replace(b"cafXX", b"caf\xe9!"))
    assert probe(path).duration == pytest.approx(2)


def test_the_files_at_hand(videos_dir: Path) -> None:
    sound = videos_dir / "torchcodec_nasa_13013.mp4.audio.mp3"
    with pytest.raises(VideoError, match="no video stream"):
        probe(sound)
    infos = {path.name: probe(path) for path in videos_dir.iterdir() if path != sound}
    assert infos["torchcodec_av1_video.mkv"].codec == "av1"
    assert infos["torchcodec_h265_10bits.mp4"].codec == "hevc"
    assert infos["mdn_flower-fragmented.mp4"].duration == pytest.approx(5, abs=0.1)
    assert infos["decord_video_90.mov"] == infos["decord_video_0.mov"]  # as coded
