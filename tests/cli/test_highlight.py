"""`hlclip highlight` and the public names."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import h5py
import pytest
from typer.testing import CliRunner, Result

import hlclip
from hlclip import Moment, best_moments
from hlclip.cli import app
from hlclip.formats import (
    Calibration,
    Origin,
    ScoreMap,
    mean_of,
    write_calibration,
)
from hlclip.formats.submissions import read_submission
from hlclip.highlights import clock
from hlclip.model import load_encoder
from tests.films import copy, ffmpeg, film
from tests.models import save_model, tiny_config

SAMPLE = Path(__file__).parents[2] / "sample" / "model"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), tiny_config())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "holiday.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=96x64:r=10:d=40", "-f", "lavfi", "-i", "sine=d=40"),
        *("-g", 10, path),
    )
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with one video, where the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HLCLIP_STORE", ".hlclip/store")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    copy(original, tmp_path / "holiday.mp4")
    return tmp_path


def run(model: str, *arguments: object, typed: str | bytes = "") -> Result:
    command = ["highlight", "--model", model, "--device", "cpu", *map(str, arguments)]
    return CliRunner().invoke(app, command, input=typed)


def warnings(result: Result) -> str:
    """What is on stderr after the line that names the model."""
    model, *lines = result.stderr.splitlines(keepends=True)
    assert model.startswith("model: ")
    return "".join(lines)


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_prints_moments_and_writes_jsonl_and_csv(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", "a dog", "people dance", "--top", 3)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "holiday.mp4: a dog"
    assert lines[1].split()[0] == "1"
    assert "holiday.mp4: people dance" in lines
    assert lines[-1] == "wrote highlights/scores.jsonl, highlights/scores.csv"
    rows = read_submission(here / "highlights" / "scores.jsonl")
    assert [(row.qid, row.vid, row.query) for row in rows] == [
        (1, "holiday", "a dog"),
        (2, "holiday", "people dance"),
    ]
    assert rows[0].pred_relevant_windows is not None
    assert len(rows[0].pred_relevant_windows) <= 3
    with (here / "highlights" / "scores.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2 * 20
    assert listing(here) == [".hlclip", "highlights", "holiday.mp4"]


def test_python_gives_the_same(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", "a dog", "--json", "--window", 5, "--min-seconds", 6)
    (answer,) = json.loads(result.stdout)["answers"]
    scorer = hlclip.load_scorer(model=model, device="cpu")
    (curve,) = scorer.score("holiday.mp4", ["a dog"])
    moments = hlclip.best_moments(curve, window=5, min_seconds=6)
    assert answer["moments"] == [
        {"start": m.start_seconds, "end": m.end_seconds, "score": m.score, "doubtful": m.score < 0}
        for m in moments
    ]
    assert answer["duration"] == pytest.approx(40, abs=0.1)


def calibration(model: str, path: Path) -> Path:
    """What zero-shot scores of the model are worth at windows 1 and 3: 1.2 and 3.4, wherever."""
    origin = Origin("c" * 64, load_encoder(model, None, cached_blocks=2).fingerprint(), 2.0)
    maps = [
        ScoreMap("zero-shot", mean_of(window), ((0.0, rating),), ((0.0, 0.5),))
        for window, rating in ((1, 1.2), (3, 3.4))
    ]
    write_calibration(path, Calibration(origin, 500, "", tuple(maps)))
    return path


def test_the_model_is_named_and_the_limit_of_the_bundled_one(model: str, here: Path) -> None:
    name = f"local-dir:{Path(model).name}"
    assert run(model, "holiday.mp4", "a dog").stderr == f"model: {name}, zero-shot\n"
    assert run(f"local-dir:{SAMPLE}", "holiday.mp4", "a dog").stderr == (
        "model: local-dir:model, zero-shot, which has seen drawn scenes only: films need a model "
        "such as ViT-B-32-quickgelu openai\n"
    )


def test_a_score_is_shown_as_the_rating_that_it_is_worth(model: str, here: Path) -> None:
    file = calibration(model, here / "of-a-run.json")
    plain = run(model, "holiday.mp4", "a dog").stdout.splitlines()
    rated = run(model, "holiday.mp4", "a dog", "--calibration", file)
    assert (rated.exit_code, warnings(rated)) == (0, "")
    moments = [line.removesuffix("   below 0") for line in plain[1:-1]]
    lines = [f"{moment}   3.4 of 4, Very Good 50 %" for moment in moments]
    assert rated.stdout.splitlines() == [plain[0], *lines, plain[-1]]
    with (here / "highlights" / "scores.csv").open(newline="") as written:
        rows = list(csv.DictReader(written))
    assert {(row["rating"], row["very_good"]) for row in rows} == {("3.4000", "0.5000")}
    unpooled = run(model, "holiday.mp4", "a dog", "--calibration", file, "--window", 1, "--json")
    (answer,) = json.loads(unpooled.stdout)["answers"]
    assert {moment["rating"] for moment in answer["moments"]} == {1.2}


def test_a_window_without_ratings_is_said(model: str, here: Path) -> None:
    file = calibration(model, here / "of-a-run.json")
    result = run(model, "holiday.mp4", "a dog", "--calibration", file, "--window", 5)
    assert result.exit_code == 0
    assert warnings(result) == "--window 5: without ratings, which were measured for 1 and 3\n"
    assert "of 4" not in result.stdout


def test_the_calibration_of_another_model_is_refused(model: str, here: Path) -> None:
    file = calibration(save_model(here / "other", tiny_config(), seed=1), here / "of-a-run.json")
    result = run(model, "holiday.mp4", "a dog", "--calibration", file)
    assert result.exit_code == 2
    assert "of-a-run.json: is of another run: weights is" in result.stderr
    assert not (here / "highlights").exists()


def test_plot_sheet_and_film(model: str, here: Path) -> None:
    result = run(
        model, "holiday.mp4", "A dog?", "a_cat", "--plot", "--sheet", "--cut", "o/best.mp4"
    )
    assert result.exit_code == 0
    assert listing(here / "highlights") == [
        "holiday-a-dog-sheet.png",
        "holiday-a-dog.png",
        "holiday-a_cat-sheet.png",
        "holiday-a_cat.png",
        "scores.csv",
        "scores.jsonl",
    ]
    with av.open(str(here / "o" / "best.mp4")) as made:
        assert len(made.streams.audio) == 1
    assert result.stdout.splitlines()[-2].startswith("o/best.mp4: 0:")


def test_queries_that_look_alike_have_files_of_their_own(model: str, here: Path) -> None:
    queries = ("a dog 3", "a dog", "a dog!", "a dog?")
    assert run(model, "holiday.mp4", *queries, "--plot").exit_code == 0
    assert [n for n in listing(here / "highlights") if n.endswith("png")] == [
        "holiday-a-dog-3-3.png",
        "holiday-a-dog-3.png",
        "holiday-a-dog-4.png",
        "holiday-a-dog.png",
    ]


@pytest.mark.parametrize("below", ["some", "all"])
def test_moments_below_zero_are_no_highlights(
    model: str, here: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """The scores of a random model are shifted, so that some or all of the moments are below 0."""
    found: list[Moment] = []

    def shifted(*arguments: Any, **options: Any) -> list[Moment]:
        moments = sorted(best_moments(*arguments, **options), key=lambda m: m.start_seconds)
        assert len(moments) > 1
        scores = [-0.1] * len(moments) if below == "all" else [0.1] + [-0.1] * (len(moments) - 1)
        found[:] = [replace(m, score=s) for m, s in zip(moments, scores, strict=True)]
        return found

    monkeypatch.setattr(hlclip, "best_moments", shifted)
    result = run(model, "holiday.mp4", "a dog", "--cut", "o.mp4", "--exact")
    assert result.exit_code == 0
    spans = [f"{clock(m.start_seconds)} - {clock(m.end_seconds)}" for m in found]
    kept = spans if below == "all" else spans[:1]
    said = {
        "all": "o.mp4: every moment scores below 0; the film shows them nevertheless",
        "some": f"o.mp4: left out, because they score below 0: {', '.join(spans[1:])}",
    }
    assert said[below] in result.stderr.splitlines()
    shown = result.stdout.splitlines()[-2]
    assert shown == f"o.mp4: {', '.join(kept)}" or below == "all"
    seconds = sum(m.end_seconds - m.start_seconds for m in found[: len(kept)])
    with av.open(str(here / "o.mp4")) as made:
        assert (made.duration or 0) / av.time_base == pytest.approx(seconds, abs=0.1)


@pytest.mark.parametrize("seconds", [1.2, 2.9])
def test_a_film_with_an_end_that_belongs_to_no_clip(model: str, here: Path, seconds: float) -> None:
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=64x48:r=10:d={seconds}", "-y", "short.mp4")
    result = run(
        model, "short.mp4", "a dog", "--video", "holiday.mp4", "--plot", "--sheet", "--json"
    )
    assert result.exit_code == 0, result.output
    assert all(answer["moments"] for answer in json.loads(result.stdout)["answers"])


def test_a_folder_and_further_videos(model: str, here: Path, original: Path) -> None:
    copy(original, here / "films" / "b.mp4")
    film(here / "films" / "a.mkv")
    (here / "films" / "a.srt").write_text("subtitles")
    result = run(model, "films", "a dog", "--video", "holiday.mp4", "--json")
    answers = json.loads(result.stdout)["answers"]
    assert [answer["vid"] for answer in answers] == ["a", "b", "holiday"]
    assert [answer["qid"] for answer in answers] == [1, 2, 3]


def test_a_bad_video_is_named_and_the_others_are_finished(model: str, here: Path) -> None:
    (here / "bad.mp4").write_text("no video")
    result = run(model, "bad.mp4", "a dog", "--video", "holiday.mp4", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert [answer["vid"] for answer in content["answers"]] == ["holiday"]
    assert list(content["failed"]) == ["bad.mp4"]
    assert "bad.mp4: not readable as a video" in result.stderr
    assert result.stderr.endswith("1 of 2 videos could not be used\n")


def test_a_link_without_a_target_in_a_folder_is_named(model: str, here: Path) -> None:
    """Such as the link to a disk that is not mounted."""
    copy(here / "holiday.mp4", here / "films" / "b.mp4")
    (here / "films" / "lost.mp4").symlink_to("/nowhere/lost.mp4")
    result = run(model, "films", "a dog", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert [answer["vid"] for answer in content["answers"]] == ["b"]
    reason = "films/lost.mp4: is a link to /nowhere/lost.mp4: no such file"
    assert content["failed"] == {"films/lost.mp4": reason}
    (here / "films" / "b.mp4").unlink()
    assert run(model, "films", "a dog").exit_code == 2


def test_only_bad_videos(model: str, here: Path) -> None:
    (here / "bad.mp4").write_text("no video")
    result = run(model, "bad.mp4", "a dog")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "bad.mp4: not readable as a video" in result.stderr
    assert "highlights" not in listing(here)


def test_queries_are_typed_one_a_line(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", typed="a dog\n\n  people dance \n")
    assert result.exit_code == 0
    assert result.stdout.count("holiday.mp4: ") == 2
    rows = read_submission(here / "highlights" / "scores.jsonl")
    assert [row.query for row in rows] == ["a dog", "people dance"]


def test_lines_that_are_no_text_are_named_and_the_others_answered(model: str, here: Path) -> None:
    typed = b"\xef\xbb\xbfa dog\nein B\xf6\xf6tchen\na\0b\n\xe6\x97\xa5\n"
    result = run(model, "holiday.mp4", "--json", typed=typed)
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert [answer["query"] for answer in content["answers"]] == ["a dog", "日"]
    assert list(content["failed"]) == ["standard input, line 2", "standard input, line 3"]
    assert "standard input, line 2: got 'ein B\\udcf6\\udcf6tchen' as a query" in result.stderr
    rows = read_submission(here / "highlights" / "scores.jsonl")
    assert [row.query for row in rows] == ["a dog", "日"]


def test_only_lines_that_are_no_text(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", typed="a dog\n".encode("utf-16"))
    assert result.exit_code == 2
    assert "highlights" not in listing(here)


def test_a_query_that_is_no_text_is_refused(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", "a dog", os.fsdecode(b"caf\xe9"))
    assert result.exit_code == 2
    assert result.stderr == "got 'caf\\udce9' as a query, expected text\ntype it in UTF-8\n"
    assert listing(here) == ["holiday.mp4"]


def test_names_that_are_not_utf8(model: str, here: Path, original: Path) -> None:
    bad = here / "films" / os.fsdecode(b"b\xf6\xf6t.mp4")
    copy(original, bad)
    copy(original, here / "films" / "good.mp4")
    (here / "films" / "link.mp4").symlink_to(bad)
    result = run(model, "films", "a dog", "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert [answer["vid"] for answer in content["answers"]] == ["good", "link"]
    ((name, reason),) = content["failed"].items()
    assert name == "films/b\udcf6\udcf6t.mp4"
    assert "its name cannot be used: not UTF-8" in reason
    # The cache of videos has the name behind the link.
    assert run(model, "films/link.mp4", "people dance").exit_code == 0
    refused = run(model, "films/link.mp4", "a dog", "--cut", os.fsdecode(b"\xe9.mp4"))
    assert refused.exit_code == 2
    assert "is not UTF-8, choose another name" in refused.stderr


@pytest.mark.slow
def test_any_locale_takes_utf8(model: str, here: Path) -> None:
    bad = os.fsdecode(b"\xe9")
    command = ["highlight", "holiday.mp4", "日 café", "--model", model, "--plot", "--out", bad]
    for settings in ({"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "utf-8:strict"}):
        done = subprocess.run(
            [sys.executable, "-m", "hlclip", *command],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            env={**os.environ, **settings},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("holiday.mp4: 日 café\n")
        (row,) = read_submission(here / bad / "scores.jsonl")
        assert row.query == "日 café"
        assert listing(here / bad) == ["holiday-日-café.png", "scores.csv", "scores.jsonl"]


@pytest.mark.slow
def test_answers_are_written_while_they_come(model: str, here: Path) -> None:
    scores = here / "highlights" / "scores.jsonl"
    command = [sys.executable, "-m", "hlclip", "highlight", "holiday.mp4", "--model", model]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    ) as process:
        assert process.stdin
        assert process.stdout
        for query in (b"a dog", b"a cat"):
            process.stdin.write(query + b"\n")
            while process.stdout.readline() != b"holiday.mp4: " + query + b"\n":
                assert process.poll() is None
            rows = read_submission(scores)  # before its moments are printed, or the next is read
            assert rows[0].query == "a dog"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert [row.query for row in read_submission(scores)] == ["a dog", "a cat"]


def test_a_window_that_is_longer_than_a_video_is_named(model: str, here: Path) -> None:
    film(here / "short.mp4", seconds=3)
    queries = ("a dog", "people dance")
    result = run(model, "short.mp4", *queries, "--video", "holiday.mp4", "--window", 5)
    assert result.exit_code == 0
    assert warnings(result) == "short.mp4: 2 clips, fewer than --window 5\n"
    assert warnings(run(model, "short.mp4", *queries)) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["https://a.org//b.mp4", "a dog"], "https://a.org//b.mp4: is a URL, expected a path"),
        (["holiday.mp4", "a dog", "--checkpoint=http://a.org/b"], "http://a.org/b: is a URL"),
        (["none.mp4", "a dog"], "none.mp4: no such file or folder"),
        (["holiday.mp4"], "got no query"),
        (["holiday.mp4", " "], "got a blank query"),
        (["holiday.mp4", "holiday.mp4"], "name further videos as --video holiday.mp4"),
        (["holiday.mp4", "./"], "./: is a folder, expected a query"),
        (["holiday.mp4", "a dog", "--window", "4"], "window is 4, expected an odd number"),
        (["holiday.mp4", "a dog", "--out", "holiday.mp4"], "is a file, expected a folder"),
        (["holiday.mp4", "a dog", "--cut", "holiday.mp4", "--force"], "is the video itself"),
        (["holiday.mp4", "a dog", "--video", "b.mp4", "--cut", "c.mp4"], "film of one video"),
        (["holiday.mp4", "a dog", "--cut", "c.xyz"], "suffix .xyz, expected one of .mp4,"),
        (
            ["holiday.mp4", "a dog", "--device", "gpu"],
            "'gpu' is unknown, expected auto, cpu, cuda, cuda:N or mps",
        ),
        (["holiday.mp4", "a dog", "--checkpoint", "none"], "none: no such checkpoint"),
    ],
)
def test_bad_input_is_a_line_and_leaves_nothing(
    arguments: list[str], message: str, model: str, here: Path
) -> None:
    copy(here / "holiday.mp4", here / "b.mp4")
    result = run(model, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert set(listing(here)) <= {".hlclip", "b.mp4", "holiday.mp4"}


def test_a_long_query_is_no_file_name(model: str, here: Path) -> None:
    result = run(model, "holiday.mp4", "рыжая собака " * 40, "--plot")
    assert result.exit_code == 0
    assert len(listing(here / "highlights")) == 3


def test_nothing_to_score_with_teaches(here: Path) -> None:
    result = CliRunner().invoke(app, ["highlight", "holiday.mp4", "a dog"])
    assert result.exit_code == 2
    assert "outputs/train.safetensors" in result.stderr
    assert "(--checkpoint FILE)" in result.stderr
    assert "(--model ViT-B-32-quickgelu --pretrained openai)" in result.stderr


def test_the_store_can_be_named(model: str, here: Path) -> None:
    assert run(model, "holiday.mp4", "a dog", "--store", "kept").exit_code == 0
    assert listing(here) == ["highlights", "holiday.mp4", "kept"]
    assert len(list(here.glob("kept/images/*/*.h5"))) == 1


def test_errors_speak_of_options(here: Path) -> None:
    arguments = ["highlight", "holiday.mp4", "a dog", "--model"]
    result = CliRunner().invoke(app, [*arguments, "ViT-B-32", "--pretrained", "b.pt"])
    assert result.exit_code == 2
    assert "--pretrained /path/to/file\n" in result.stderr
    assert "encoder.pretrained" not in result.stderr


def test_a_film_is_replaced_only_by_force(model: str, here: Path) -> None:
    (here / "best.mp4").write_text("mine")
    refused = run(model, "holiday.mp4", "a dog", "--cut", "best.mp4")
    assert refused.exit_code == 2
    assert "best.mp4: exists" in refused.stderr
    assert (here / "best.mp4").read_text() == "mine"
    forced = run(model, "holiday.mp4", "a dog", "--cut", "best.mp4", "--exact", "--force")
    assert forced.exit_code == 0
    assert (here / "best.mp4").stat().st_size > 1000


def test_help_teaches_by_example() -> None:
    result = CliRunner().invoke(app, ["highlight", "--help"])
    assert '  hlclip highlight holiday.mp4 "a dog on the beach"\n' in result.stdout


@pytest.mark.slow
def test_an_interrupt_leaves_no_half_file(model: str, here: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=1:d=43200", "-preset", "ultrafast", "long.mp4")
    command = [sys.executable, "-m", "hlclip", "highlight", "long.mp4"]
    with subprocess.Popen([*command, "a dog", "--model", model], stderr=subprocess.PIPE) as process:
        while not list(here.glob(".hlclip/store/images/*/*.h5")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert "highlights" not in listing(here)
    assert not list(here.rglob("*.tmp"))
    for path in here.glob(".hlclip/store/features/*/*.h5"):  # the query's, not the film's
        with h5py.File(path) as file:
            data = file["data"]
            assert isinstance(data, h5py.Dataset)
            assert len(data) == 1


def test_importing_hlclip_is_light() -> None:
    heavy = ("torch", "open_clip", "av", "h5py", "numpy", "matplotlib", "PIL", "pydantic")
    code = f"import sys, hlclip; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names() -> None:
    for name in hlclip.PUBLIC:
        assert getattr(hlclip, name).__name__ == name
        assert getattr(hlclip, name).__doc__
        assert name in dir(hlclip)
    with pytest.raises(AttributeError, match="module 'hlclip' has no attribute 'nothing'"):
        hlclip.nothing  # noqa: B018 (the access is the test)


def test_version() -> None:
    assert hlclip.__version__ == CliRunner().invoke(app, ["--version"]).stdout.split()[1]
    assert "__version__" in dir(hlclip)


def test_types_know_the_public_names() -> None:
    source = Path(hlclip.__file__).read_text()
    typed = {
        line.split()[-1] for line in source.splitlines() if line.startswith("    from hlclip.")
    }
    assert typed == set(hlclip.PUBLIC)
