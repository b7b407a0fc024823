"""Moments as files of other programs, read back with the libraries of their formats."""

import csv
import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import opentimelineio
import pytest
import webvtt

from hlclip.highlights import Answer, Curve, FileStems, Moment
from hlclip.highlights.exports import export_moments, export_table
from hlclip.highlights.media import read_media
from tests.films import constant, ffmpeg, numbered_film

NTSC = Fraction(1000, 1001)
NAME = "my holiday & <1>.mp4"


def video(path: Path, rate: Fraction | int = 25, *options: object) -> Path:
    """A second of pictures and sound."""
    source = f"testsrc2=s=32x32:r={rate}:d=1"
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-ac", 2)
    ffmpeg("-f", "lavfi", "-i", source, *sound, "-preset", "ultrafast", *options, path)
    return path


def answer(path: Path, *moments: Moment, query: str = "a dog", qid: int = 1) -> Answer:
    curve = Curve(path, query, np.zeros(30, np.float32), 60.0, 2.0)
    return Answer(qid, path.stem, curve, list(moments))


def moment(start: float, end: float, score: float = 0.5, **worth: float) -> Moment:
    return Moment(start, end, score, range(int(start // 2), int(end // 2)), **worth)


BEST, SECOND = moment(40, 46.5, 0.4888, rating=2.4, very_good=0.25), moment(6, 12, 0.18, rating=0.4)


def read(path: Path, rate: Fraction | int) -> Any:
    """The timeline in a file, read by the adapter of its format."""
    if path.suffix == ".edl":
        text = path.read_text()
        return opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=float(rate))
    return opentimelineio.adapters.read_from_file(
        str(path), {".otio": "otio_json", ".xml": "fcp_xml"}[path.suffix]
    )


@pytest.mark.parametrize("rate", [24 * NTSC, 24, 25, 30 * NTSC, 30, 50, 60 * NTSC])
def test_timelines_read_back_to_the_frame(tmp_path: Path, rate: Fraction | int) -> None:
    path = video(tmp_path / NAME, rate)
    made = export_moments(
        [answer(path, BEST, SECOND)], tmp_path, ["otio", "xml", "edl"], FileStems()
    )
    assert [file.name for file in made] == [
        f"my holiday & <1>-a-dog.{suffix}" for suffix in ("otio", "xml", "edl")
    ]
    for file in made:
        timeline = read(file, rate)
        kinds = [track.kind for track in timeline.tracks]
        assert kinds == ["Video"] + ["Audio"] * (1 if file.suffix == ".otio" else 2)
        for track in timeline.tracks:
            shown, begin = [], 0
            for clip in track:
                span, place = clip.source_range, clip.range_in_parent()
                shown += [span.start_time, span.end_time_exclusive()]
                assert place.start_time.value == begin
                begin += round(span.duration.value)
            frames = [round(second * rate) for second in (6, 12, 40, 46.5)]
            assert [time.value for time in shown] == frames
            assert [time.rate for time in shown] == pytest.approx([float(rate)] * 4)


def test_a_timeline_names_file_rank_score_and_rating(tmp_path: Path) -> None:
    path = video(tmp_path / NAME)
    otio, xml, edl = export_moments(
        [answer(path, BEST, SECOND, query="a\ndog\x01")],
        tmp_path,
        ["edl", "xml", "otio"],
        FileStems(),
    )
    for file in (otio, xml):
        timeline = read(file, 25)
        clips = list(timeline.tracks[0])
        assert [clip.name for clip in clips] == ["2 a dog", "1 a dog"]
        assert {unquote(urlparse(clip.media_reference.target_url).path) for clip in clips} == {
            str(path)
        }
        names = [marker.name for clip in clips for marker in clip.markers]
        assert names == ["2 a dog: 0.1800 0.4 of 4", "1 a dog: 0.4888 2.4 of 4"]
        media = clips[0].media_reference
        assert media.available_range.duration.value == 60 * 25
    timeline = read(otio, 25)
    facts = [clip.metadata["hlclip"] for clip in timeline.tracks[0]]
    assert (facts[1]["query"], facts[1]["rank"], facts[1]["score"]) == ("a\ndog\x01", 1, 0.4888)
    assert (facts[1]["rating"], facts[1]["very_good"]) == (2.4, 0.25)
    timeline = read(edl, 25)
    clips = list(timeline.tracks[0])
    assert [clip.name for clip in clips] == [NAME, NAME]
    (marker,) = clips[1].markers
    assert (marker.name, marker.marked_range.start_time.value) == ("1 a dog: 0.4888 2.4 of 4", 150)


@pytest.mark.parametrize(
    ("sound", "channels"), [(("-an",), "V"), (("-ac", 1), "B"), (("-ac", 2), "AA/V")]
)
def test_an_edl_names_the_sound_that_there_is(
    tmp_path: Path, sound: tuple[object, ...], channels: str
) -> None:
    path = video(tmp_path / "v.mp4", 25, *sound)
    xml, edl = export_moments([answer(path, BEST)], tmp_path, ["xml", "edl"], FileStems())
    assert edl.read_text().splitlines()[3].split()[2] == channels
    assert len(read(xml, 25).audio_tracks()) == (0 if sound == ("-an",) else int(str(sound[1])))
    assert ("<audio>\n" in xml.read_text().split("</file>")[0]) == (channels != "V")


@pytest.mark.parametrize(
    ("rate", "timecode", "counting", "first"),
    [
        (25, "", "NON-DROP", "00:02:00:00"),
        (30 * NTSC, "", "DROP", "00:01:59;28"),
        (25, "10:00:00:00", "NON-DROP", "10:02:00:00"),
        (30 * NTSC, "10:00:00;00", "DROP", "10:01:59;28"),
        (30 * NTSC, "10:00:00:00", "NON-DROP", "10:01:59:26"),
        (25, "23:59:50:00", "NON-DROP", "00:01:50:00"),
        (30 * NTSC, "23:57:00:00", "NON-DROP", "23:58:59:26"),
    ],
)
def test_the_time_code_of_the_file_is_counted_on(
    tmp_path: Path, rate: Fraction | int, timecode: str, counting: str, first: str
) -> None:
    options = ("-timecode", timecode) if timecode else ()
    path = video(tmp_path / "v.mov", rate, *options)
    assert read_media(path).timecode == timecode
    found = answer(path, moment(120, 126))
    xml, edl = export_moments([found], tmp_path, ["edl", "xml"], FileStems())
    lines = edl.read_text().splitlines()
    assert lines[1] == f"FCM: {counting} FRAME"
    assert lines[3].split()[4] == first
    timeline = read(xml, rate)
    (clip,) = timeline.tracks[0]
    begin = clip.media_reference.available_range.start_time
    assert (clip.source_range.start_time - begin).value == round(120 * rate)
    inside = xml.read_text().split("<clipitem")[1]
    marked = inside.split("<marker>")[1].split("<in>")[1].split("<")[0]
    assert int(marked) == round(120 * rate)  # counted from the start of the file


def test_a_time_code_that_is_none_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = video(tmp_path / "v.mkv", 25, "-metadata", "timecode=noon")
    (edl,) = export_moments([answer(path, BEST, SECOND)], tmp_path, ["edl"], FileStems())
    assert edl.read_text().splitlines()[3].split()[4] == "00:00:06:00"
    assert caplog.messages == [f"{path}: time code noon: not understood, so times count from 0"]


def test_a_rate_that_varies_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = [*constant(30, 2), *(2 + time for time in constant(7, 4))]
    path = numbered_film(tmp_path / "v.mp4", times, codec="mpeg4")
    export_moments([answer(path, BEST)], tmp_path, ["edl"], FileStems())
    assert "v.mp4: its frame rate varies; timelines count" in caplog.text


def test_a_query_without_moments_is_an_empty_timeline(tmp_path: Path) -> None:
    path = video(tmp_path / "v.mp4")
    for file in export_moments([answer(path)], tmp_path, ["otio", "xml", "edl"], FileStems()):
        assert [clip for track in read(file, 25).tracks for clip in track] == []


def test_webvtt_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    answers = [
        answer(path, BEST, SECOND, query="a <b> & --> dog"),
        answer(path, replace(SECOND, start_seconds=3661.2345, end_seconds=3700), qid=2),
    ]
    (file,) = export_moments(answers, tmp_path, ["vtt"], FileStems())
    assert file.name == "v.vtt"
    cues = webvtt.read(str(file)).captions
    assert [(cue.identifier, cue.start_in_seconds, cue.end_in_seconds) for cue in cues] == [
        ("1-2", 6, 12),
        ("1-1", 40, 46),
        ("2-1", 3661, 3700),
    ]
    assert [cue.start for cue in cues] == ["00:00:06.000", "00:00:40.000", "01:01:01.234"]
    assert cues[1].end == "00:00:46.500"
    assert cues[1].lines == [
        "a &lt;b&gt; &amp; --&gt; dog",
        "rank 1 of 2, score 0.4888, 2.4 of 4",
    ]


def chapters(tmp_path: Path, *answers: Answer) -> list[str]:
    (file,) = export_moments(answers, tmp_path, ["chapters"], FileStems())
    assert file.name == "v-chapters.txt"
    return file.read_text().splitlines()


def test_chapters_begin_at_zero_and_last_ten_seconds(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.mp4"
    found = answer(path, *(moment(start, start + 4) for start in (30, 39, 12, 51.5, 52, 20.5)))
    assert chapters(tmp_path, found) == ["0:00 Start", "0:12 a dog (3)", "0:30 a dog (1)"]
    assert caplog.messages == [
        "v-chapters.txt: no chapter for a dog (2) at 0:39, a dog (4) at 0:51.5, a dog (5) at 0:52, "
        "a dog (6) at 0:20.5, because it would be shorter than 10 s"
    ]


def test_a_moment_of_the_first_ten_seconds_is_the_first_chapter(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "v.mp4"
    answers = [answer(path, moment(8, 14), query="<a> dog"), answer(path, moment(50, 54), qid=2)]
    assert chapters(tmp_path, *answers) == ["0:00 (a) dog (1)", "0:50 a dog (1)"]
    assert caplog.messages == [
        "v-chapters.txt: YouTube shows no chapters where there are fewer than 3, and these are 2"
    ]


def test_a_table_has_a_row_a_moment(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    export_table([answer(path, BEST, SECOND, query="=1+1"), answer(path)], tmp_path / "m.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "m.csv").read_text())))
    assert [(row["vid"], row["query"], row["rank"], row["start"], row["end"]) for row in rows] == [
        ("v", "'=1+1", "1", "40.000", "46.500"),
        ("v", "'=1+1", "2", "6.000", "12.000"),
    ]
    assert [float(row["score"]) for row in rows] == [0.4888, 0.18]
    assert [row["rating"] for row in rows] == ["2.4", "0.4"]
    export_table([answer(path, moment(0, 4))], tmp_path / "m.csv")
    assert "rating" not in (tmp_path / "m.csv").read_text()
