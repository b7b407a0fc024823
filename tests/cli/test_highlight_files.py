"""What `hlclip highlight` makes of moments: exports, films of each moment, ends at cuts."""

import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import opentimelineio
import pytest
from typer.testing import CliRunner, Result

from hlclip.cli import app
from tests.films import copy, ffmpeg
from tests.models import save_model, tiny_config

CUTS = tuple(round(2 * number + 0.4, 1) for number in range(1, 12))
"""Seconds of `original` at which a shot ends."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 seconds in twelve shots, with sound."""
    path = tmp_path_factory.mktemp("film") / "holiday.mp4"
    inputs: list[object] = []
    for number, (start, end) in enumerate(pairwise((0, *CUTS, 24))):
        source = ("testsrc2", "smptebars", "rgbtestsrc")[number % 3]
        inputs += ["-f", "lavfi", "-t", f"{end - start:.1f}", "-i", f"{source}=s=96x64:r=10"]
    inputs += ["-f", "lavfi", "-i", "sine=d=24", "-filter_complex", "concat=n=12"]
    ffmpeg(*inputs, "-pix_fmt", "yuv420p", "-g", 10, path)
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one video, where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HLCLIP_STORE", ".hlclip/store")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    copy(original, tmp_path / "holiday.mp4")
    return tmp_path


def run(model: str, *arguments: object) -> Result:
    command = ["highlight", "--model", model, "--device", "cpu", *map(str, arguments)]
    return CliRunner().invoke(app, command)


def moments(result: Result) -> list[list[dict[str, Any]]]:
    return [answer["moments"] for answer in json.loads(result.stdout)["answers"]]


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_exports_of_two_queries(model: str, here: Path) -> None:
    formats = ("otio", "xml", "edl", "vtt", "chapters", "csv")
    options = [option for name in formats for option in ("--export", name)]
    result = run(model, "holiday.mp4", "a dog", "a cat!", *options, "--json")
    assert result.exit_code == 0
    expected = [f"holiday-a-{pet}.{name}" for name in formats[:3] for pet in ("dog", "cat")]
    expected += ["holiday.vtt", "holiday-chapters.txt", "moments.csv"]
    files = json.loads(result.stdout)["files"]
    assert files[2:] == [f"highlights/{name}" for name in expected]
    assert listing(here / "highlights") == sorted([*expected, "scores.csv", "scores.jsonl"])
    timeline = opentimelineio.adapters.read_from_file("highlights/holiday-a-cat.otio")
    shown = [clip.source_range.start_time.to_seconds() for clip in timeline.tracks[0]]
    assert shown == sorted(moment["start"] for moment in moments(result)[1])
    assert (here / "highlights" / "moments.csv").read_text().count("\n") == 1 + sum(
        map(len, moments(result))
    )


def test_a_film_of_each_moment_of_each_video(model: str, here: Path) -> None:
    copy(here / "holiday.mp4", here / "beach.mp4")
    result = run(model, ".", "a dog", "a cat", "--top", 2, "--cut-each", "clips", "--json")
    assert result.exit_code == 0
    answers = json.loads(result.stdout)["answers"]
    stems: list[tuple[str, Any]] = [
        (f"{answer['vid']}-{answer['query'].replace(' ', '-')}-{rank:02}", moment)
        for answer in answers
        for rank, moment in enumerate(answer["moments"], start=1)
    ]
    kept = [
        (f"{stem}-0h00m{int(moment['start']):02}s.mp4", moment)
        for stem, moment in stems
        if moment["score"] >= 0 or f"clips/{stem[:-3]}: every moment scores below" in result.stderr
    ]
    assert {name.split("-")[0] for name, _ in kept} == {"beach", "holiday"}
    assert listing(here / "clips") == sorted(name for name, _ in kept)
    ranges = {
        Path(film).name: shown for film, (shown,) in json.loads(result.stdout)["films"].items()
    }
    # A copy may end a few pictures late, because others before them need them.
    assert [ranges[name][1] for name, _ in kept] == pytest.approx(
        [moment["end"] for _, moment in kept], abs=0.6
    )
    for name, moment in kept:
        # A copy begins at a key frame, which there is each second.
        longest = moment["end"] - moment["start"] + 1.3
        assert longest - 1.4 <= seconds(here / "clips" / name) <= longest


def test_films_of_moments_replace_none_without_force(model: str, here: Path) -> None:
    command = ("holiday.mp4", "a dog", "a cat", "--top", 1, "--cut-each", "clips")
    assert run(model, *command).exit_code == 0
    names = listing(here / "clips")
    (here / "clips" / names[0]).unlink()
    (here / "clips" / names[-1]).write_text("mine")
    result = run(model, *command, "--export", "vtt")
    assert result.exit_code == 2
    assert f"clips/{names[-1]}: exists" in result.stderr
    assert (here / "highlights" / "holiday.vtt").exists()  # no film, but all the rest
    assert "--force" in result.stderr
    assert listing(here / "clips") == names[1:]  # none is written before all names are free
    assert (here / "clips" / names[-1]).read_text() == "mine"
    assert run(model, *command, "--force").exit_code == 0
    assert listing(here / "clips") == names
    assert seconds(here / "clips" / names[-1]) > 3


def test_films_are_vertical_and_short(model: str, here: Path) -> None:
    command = ("holiday.mp4", "a dog", "--vertical", "--max-seconds", 5, "--json")
    result = run(model, *command, "--cut", "all.mp4", "--cut-each", "clips")
    assert result.exit_code == 0
    clips = list((here / "clips").iterdir())
    assert clips
    for film in (here / "all.mp4", *clips):
        assert seconds(film) == pytest.approx(5, abs=0.1) or seconds(film) < 5
        with av.open(str(film)) as container:
            codec = container.streams.video[0].codec_context
            assert (codec.width, codec.height) == (36, 64)
    assert sum(moment["end"] - moment["start"] for moment in moments(result)[0]) > 5


def test_ends_move_to_cuts(model: str) -> None:
    options = ("holiday.mp4", "a dog", "a cat", "--json", "--rule", "peaks", "--top", 9)
    plain, moved = (
        [moment[end] for each in moments(run(model, *options, *more)) for moment in each
         for end in ("start", "end")]
        for more in ((), ("--scenes",))
    )  # fmt: skip
    near = {end: cut for end in plain for cut in CUTS if 0 < end < 24 and abs(end - cut) < 1}
    assert near
    assert moved == pytest.approx([near.get(end, end) for end in plain])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vertical"], "--vertical: says how films are cut, but none is"),
        (["--max-seconds", 9, "--force"], "--max-seconds, --force: says how films are cut"),
        (["--cut", "o.mp4", "--max-seconds", 3], "--max-seconds 3: is below --min-seconds 4"),
        (["--cut-each", "holiday.mp4"], "--cut-each holiday.mp4: is a file, expected a folder"),
        (["--export", "fcpx"], "'fcpx' is not one of"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    model: str, here: Path, arguments: list[object], message: str
) -> None:
    result = run(model, "holiday.mp4", "a dog", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert listing(here) == ["holiday.mp4"]


@pytest.mark.parametrize(
    ("missing", "arguments", "message"),
    [
        ("opentimelineio", ["--export", "edl"], "--export edl needs OpenTimelineIO\npip install"),
        ("otio_fcp_adapter", ["--export", "xml"], "--export xml needs OpenTimelineIO\npip"),
        ("scenedetect", ["--scenes"], "--scenes needs PySceneDetect\npip install 'hlclip[scenes]'"),
        ("cv2", ["--scenes"], "--scenes needs PySceneDetect\npip install 'hlclip[scenes]'"),
    ],
)
def test_a_missing_extra_is_named(
    model: str, monkeypatch: pytest.MonkeyPatch, missing: str, arguments: list[str], message: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    result = run(model, "holiday.mp4", "a dog", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_text_needs_no_extra(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentimelineio", None)
    options = [option for name in ("vtt", "chapters", "csv") for option in ("--export", name)]
    assert run(model, "holiday.mp4", "a dog", *options).exit_code == 0
