"""A video is one file: what it or its name says makes nothing else be read, here or elsewhere."""

import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hlclip.highlights.film import CutError, cut_moments
from hlclip.highlights.moments import Moment
from hlclip.highlights.pictures import pictures
from hlclip.video.container import probe
from hlclip.video.ffmpeg_process import ffmpeg_executable
from hlclip.video.frames import extract_frames, frames_header
from hlclip.video.refusals import VideoError
from tests.films import constant, copy, ffmpeg, numbered_film, numbers
from tests.web import Web, serving

HEADER = frames_header(size=32, resize="shortest", interpolation="bicubic", clip_seconds=2.0)
MOMENT = Moment(0, 2, 0, range(1))

OPEN = ("-protocol_whitelist", "file,http,tcp,crypto,data,concat,subfile,rtp,udp")
"""What ffmpeg is told where somebody trusts a file."""


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of white pictures, which no other file here shows."""
    path = tmp_path_factory.mktemp("secret") / "secret.ts"
    ffmpeg("-f", "lavfi", "-i", "color=white:s=32x32:r=10:d=4", "-c:v", "mpeg2video", path)
    return path


@pytest.fixture
def web(secret: Path) -> Iterator[Web]:
    with serving(**{"secret.ts": secret.read_bytes()}) as web:
        yield web


def hls(place: str) -> str:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4,\n{place}\n#EXT-X-ENDLIST\n"


def hls_map(place: str) -> str:
    mapped = f'#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MAP:URI="{place}"\n'
    return f"{mapped}#EXTINF:4,\n{place}\n#EXT-X-ENDLIST\n"


def ffconcat(place: str) -> str:
    return f"ffconcat version 1.0\nfile '{place}'\n"


def dash(place: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT4S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">'
        '<Period><AdaptationSet mimeType="video/mp2t"><Representation id="0" bandwidth="1">'
        f"<BaseURL>{place}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


PLAYLISTS = [hls, hls_map, ffconcat, dash]


def check_refused(path: Path, tmp_path: Path) -> None:
    """At every door."""
    with pytest.raises(VideoError):
        probe(path)
    with pytest.raises(VideoError):
        extract_frames(path, HEADER)
    with pytest.raises(VideoError):
        pictures(path, [0], clip_seconds=2.0, height=20)
    for exact in (False, True):
        with pytest.raises(CutError):
            cut_moments(path, [MOMENT], tmp_path / "films" / "film.mp4", exact=exact)
    assert not list((tmp_path / "films").glob("*"))


def trusting(*arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [ffmpeg_executable(), "-nostdin", "-loglevel", "error", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("name", ["a.mp4", "a.m3u8", "a.ffconcat", "a.mpd", "a"])
@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_a_playlist_reaches_nothing(
    tmp_path: Path, secret: Path, web: Web, name: str, playlist: Callable[[str], str]
) -> None:
    path = copy(secret, tmp_path / secret.name).with_name(name)
    for place in (f"{web.url}/secret.ts", "secret.ts", str(secret), f"file:{secret}"):
        path.write_text(playlist(place))
        check_refused(path, tmp_path)
    assert not web.requests


@pytest.mark.parametrize("playlist", PLAYLISTS)
def test_the_same_playlist_reaches_the_net_where_it_is_trusted(
    tmp_path: Path, web: Web, playlist: Callable[[str], str]
) -> None:
    # Or the tests above would pass by playlists that nobody can play.
    path = tmp_path / ("a.mpd" if playlist is dash else "a.m3u8")
    path.write_text(playlist(f"{web.url}/secret.ts"))
    trust = ("-safe", 0) if playlist is ffconcat else ()
    trusting(*OPEN, *trust, "-i", path, "-f", "null", "-")
    if not web.requests and playlist is dash:
        pytest.skip("this ffmpeg has no DASH")
    assert web.requests


@pytest.mark.parametrize(
    "text",
    [
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:4,\ndata:video/mp2t;base64,R0AREA==\n"
        "#EXT-X-ENDLIST\n",
        "[Reference]\nRef1=URL/secret.ts\n",
        "<asx version=3><entry><ref href='URL/secret.ts'/></entry></asx>",
        "URL/secret.ts\n",
        "testsrc2=s=32x32:d=4\n",
        "movie=SECRET\n",
        "1\n00:00:00,000 --> 00:00:04,000\nwords\n",
        "<svg xmlns='http://www.w3.org/2000/svg' xmlns:x='http://www.w3.org/1999/xlink' "
        "width='32' height='32'><image x:href='URL/secret.ts' width='32' height='32'/></svg>",
        "#!AMR\nURL",
    ],
    ids=["sdp", "data", "reference", "asx", "ram", "lavfi", "movie", "srt", "svg", "amr"],
)
def test_text_is_no_video(tmp_path: Path, secret: Path, web: Web, text: str) -> None:
    path = tmp_path / "a.mp4"
    path.write_text(text.replace("URL", web.url).replace("SECRET", str(secret)))
    check_refused(path, tmp_path)
    assert not web.requests


def _with_reference(path: Path, target: str) -> Path:
    """A QuickTime film whose pictures lie in another file, by an alias in its `dref`."""
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:s=32x32:r=10:d=4", "-c:v", "rawvideo"),
        *("-pix_fmt", "rgb24", path),
    )
    content = path.read_bytes()
    at = content.index(b"dref") - 4
    length = int.from_bytes(content[at : at + 4], "big")
    name = target.encode()
    # An alias record: 150 bytes, then tagged fields; 2 is the whole path, 18 the path on its disk.
    record = bytearray(150)
    record[4:6] = struct.pack(">H", 150)
    record[6:8] = struct.pack(">H", 2)
    fields = b""
    for tag in (2, 18):
        fields += struct.pack(">HH", tag, len(name)) + name + bytes(len(name) % 2)
    record = bytes(record) + fields + struct.pack(">HH", 0xFFFF, 0)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    dref = struct.pack(">I4sII", 16 + len(alias), b"dref", 0, 1) + alias
    grown = len(dref) - length
    changed = content[:at] + dref + content[at + length :]
    for name_of_box in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
        place = changed.index(name_of_box) - 4
        size = int.from_bytes(changed[place : place + 4], "big") + grown
        changed = changed[:place] + struct.pack(">I", size) + changed[place + 4 :]
    path.write_bytes(changed)
    return path


def test_a_film_whose_pictures_lie_in_another_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"\xff" * 32 * 32 * 3 * 50)
    path = _with_reference(tmp_path / "a.mov", str(secret))
    trusted = trusting(
        *("-enable_drefs", 1, "-use_absolute_path", 1, "-i", path),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:"),
    )
    assert trusted.stdout.count(b"\xff") > len(trusted.stdout) / 2  # it can be done
    with pytest.raises(VideoError, match="no frame could be decoded"):
        extract_frames(path, HEADER)
    with pytest.raises(VideoError, match="no picture"):
        pictures(path, [0], clip_seconds=2.0, height=20)
    for exact in (False, True):
        film = tmp_path / "film.mkv"
        with pytest.raises(CutError, match="no film could be made"):
            cut_moments(path, [MOMENT], film, exact=exact, overwrite=True)
        assert not film.exists()


NAMES = [
    "-rf.mp4",
    "-i",
    "http:x.mp4",
    "concat:a.mp4|b.mp4",
    "subfile,,start,0,end,9,,:a.mp4",
    "file:a.mp4",
    "pipe:0",
    "data:video,x",
    "a%03d.mp4",
    "a*.mp4",
    "new\nline.mp4",
    "sp ace 'quo\"te'.mp4",
    "$(touch run) `touch run`; touch run.mp4",
    "\x1b[2J.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    plain = numbered_film(tmp_path / "plain.mkv", constant(10, 4))
    monkeypatch.chdir(copy(plain, tmp_path / "folder" / name).parent)
    path = Path(name)
    assert probe(path) == probe(plain)
    assert numbers(extract_frames(path, HEADER)) == [9, 29]
    assert pictures(path, [0], clip_seconds=2.0, height=20)[0].size == (20, 20)
    cut_moments(path, [MOMENT], Path("films", "film.mkv"))
    assert numbers(extract_frames(Path("films", "film.mkv"), HEADER)) == [9]
    assert sorted(os.listdir()) == sorted([name, "films"])


@pytest.mark.parametrize("folder", ["http:", "concat:a|b", "file:", "a%03d", "it's"])
def test_a_film_is_written_where_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    plain = numbered_film(tmp_path / "plain.mkv", constant(10, 4))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for exact in (False, True):
        out = Path(folder, "film.mkv")
        cut_moments(plain, [MOMENT], out, exact=exact, overwrite=True)
        assert os.listdir() == [folder]
        assert os.listdir(folder) == ["film.mkv"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\0b.mp4", "its name cannot be used"),
        (os.fsdecode(b"\xff\xfe.mp4"), "its name cannot be used"),
        ("a" * 300, "File name too long"),
        ("../" * 2000 + "a.mp4", "File name too long"),
    ],
    ids=["nul", "not utf-8", "long name", "long path"],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str, said: str) -> None:
    if "\0" not in name and len(name) < 255:
        (tmp_path / name).touch()
    with pytest.raises(VideoError, match=said):
        probe(tmp_path / name)
    check_refused(tmp_path / name, tmp_path)
