"""`hlclip highlight` with a file of queries, over a folder, and without a query."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hlclip import load_scorer
from hlclip.cli import app
from hlclip.formats import Calibration, Origin, ScoreMap, mean_of, write_calibration
from hlclip.formats.submissions import read_submission
from hlclip.model import load_encoder
from tests.films import film
from tests.models import save_model, tiny_config

DOGS = 'name,query\ndogs,"a dog, running"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and two videos, which are scored once and never changed."""
    folder = tmp_path_factory.mktemp("made")
    save_model(folder / "model", tiny_config())
    (folder / "films").mkdir()
    film(folder / "films" / "a.mp4", seconds=12)
    film(folder / "films" / "b.mp4", seconds=20)
    return folder


@pytest.fixture(autouse=True)
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HLCLIP_STORE", str(made / "store"))
    (tmp_path / "films").symlink_to(made / "films")
    (tmp_path / "dogs.csv").write_text(DOGS)
    return tmp_path


def run(made: Path, *arguments: object) -> Result:
    command = ["highlight", *map(str, arguments), "--model", f"local-dir:{made / 'model'}"]
    return CliRunner().invoke(app, [*command, "--device", "cpu"])


def calibration(made: Path, path: Path, rating: float) -> Path:
    """Every zero-shot score of the model is worth `rating`, at windows 1 and 3."""
    model = f"local-dir:{made / 'model'}"
    origin = Origin("c" * 64, load_encoder(model, None, cached_blocks=2).fingerprint(), 2.0)
    knots = ((0.0, rating),), ((0.0, 0.1),)
    maps = tuple(ScoreMap("zero-shot", mean_of(window), *knots) for window in (1, 3))
    write_calibration(path, Calibration(origin, 500, "", maps))
    return path


def test_a_file_names_its_queries(made: Path, here: Path) -> None:
    result = run(made, "films/a.mp4", "a cat", "--queries", "dogs.csv", "--plot")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "films/a.mp4: a cat" in lines
    assert "films/a.mp4: dogs (a dog, running)" in lines
    assert {path.name for path in (here / "highlights").glob("*.png")} == {
        "a-a-cat.png",
        "a-dogs.png",
    }
    rows = read_submission(here / "highlights" / "scores.jsonl")
    assert [row.query for row in rows] == ["a cat", "a dog, running"]


def test_the_summary_of_a_folder(made: Path, here: Path) -> None:
    result = run(made, "films", "a cat", "--queries", "dogs.csv", "--summary", "--top", 2)
    assert result.exit_code == 0, result.output
    with (here / "highlights" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    cats = [row for row in rows if row["name"] == "a cat"]
    assert [int(row["place"]) for row in cats] == list(range(1, len(cats) + 1))
    scores = [float(row["score"]) for row in cats]
    assert scores == sorted(scores, reverse=True)
    assert {row["video"] for row in cats} == {"films/a.mp4", "films/b.mp4"}
    assert {(row["name"], row["query"]) for row in rows} == {
        ("a cat", "a cat"),
        ("dogs", "a dog, running"),
    }
    lines = result.stdout.splitlines()
    table = lines[lines.index(f"all videos: a cat (2 of {len(cats)})") + 1 :][:2]
    assert [line.split()[:2] for line in table] == [
        [row["place"], row["video"]] for row in cats[:2]
    ]
    assert lines[-1].endswith("highlights/summary.csv, highlights/summary.html")
    page = (here / "highlights" / "summary.html").read_text()
    assert page.count("<img ") == len(rows)


def test_highlights_without_a_query(made: Path, here: Path) -> None:
    result = run(made, "films", "--generic", "--json")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["generic"] is True
    assert [answer["vid"] for answer in content["answers"]] == ["a", "b"]
    scorer = load_scorer(model=f"local-dir:{made / 'model'}", device="cpu")
    for answer in content["answers"]:
        assert answer["measure"] == "mean cosine with all clips"
        curve = scorer.generic(answer["video"])
        assert answer["clips"]["score"] == curve.saliency.tolist()


def test_json_says_what_the_text_and_the_files_say(made: Path, here: Path) -> None:
    file = calibration(made, here / "of-a-run.json", 2.5)
    (here / "bad.mp4").write_text("no video")
    given = ["films/a.mp4", "--video", "bad.mp4", "--queries", "dogs.csv"]
    result = run(made, *given, "--calibration", file, "--json")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    weights = load_encoder(f"local-dir:{made / 'model'}", None, cached_blocks=2).fingerprint()
    assert content["model"] == {
        "model": "local-dir:model",
        "pretrained": "none",
        "weights": weights,
        "dtype": "float16",
        "checkpoint": None,
        "variant": "zero-shot",
        "calibration": str(file),
    }
    assert content["settings"] == {
        "top": 5,
        "window": 3,
        "min_seconds": 4.0,
        "rule": "consensus",
        "min_rating": 1.0,
        "min_score": None,
        "scenes": False,
    }
    (answer,) = content["answers"]
    assert (answer["name"], answer["query"]) == ("dogs", "a dog, running")
    assert {moment["rating"] for moment in answer["moments"]} == {2.5}
    with (here / "highlights" / "scores.csv").open(newline="") as written:
        rows = list(csv.DictReader(written))
    assert [float(row["pooled"]) for row in rows] == pytest.approx(answer["clips"]["pooled"])
    assert [float(row["rating"]) for row in rows] == answer["clips"]["rating"]
    assert list(content["failed"]) == ["bad.mp4"]
    assert "not readable as a video" in content["failed"]["bad.mp4"]
    assert content["film"] == []
    assert content["files"] == ["highlights/scores.jsonl", "highlights/scores.csv"]


def test_a_query_may_find_nothing(made: Path, here: Path) -> None:
    file = calibration(made, here / "of-a-run.json", 0.4)
    given = ["films", "a cat", "--calibration", file, "--summary", "--plot", "--sheet"]
    result = run(made, *given)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "films/a.mp4: a cat"
    assert lines[1].startswith("      nothing found; the best is 0:")
    assert lines[1].endswith("   rated 0.40")
    assert lines[-2] == "nothing found"
    assert {path.name for path in (here / "highlights").glob("*.png")} == {
        "a-a-cat.png",
        "b-a-cat.png",
    }
    page = (here / "highlights" / "summary.html").read_text()
    assert "Nothing found in a.mp4, b.mp4." in page
    assert run(made, *given[:4], "--min-rating", 0.3).stdout.count("0.4 of 4") > 2


def test_no_film_of_nothing(made: Path, here: Path) -> None:
    result = run(made, "films/a.mp4", "a cat", "--min-score", 2, "--cut", "o.mp4")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "o.mp4: no film, nothing was found"
    assert not (here / "o.mp4").exists()


REFUSED: dict[str, tuple[list[Any], str]] = {
    "generic": (["a cat", "--generic"], "--generic finds highlights without a query, got queries"),
    "rating": (["a cat", "--min-rating", 2], "--min-rating 2: no rating is known"),
    "generic rating": (["--generic", "--min-rating", 2], "--min-rating 2: no rating is known"),
    "score": (["a cat", "--min-score", "nan"], "--min-score is nan, expected a number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_options_that_contradict_are_refused(made: Path, here: Path, case: str) -> None:
    arguments, reason = REFUSED[case]
    result = run(made, "films/a.mp4", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert reason in result.stderr


BAD_FILES = {
    "a dog\na cat\n": "q.csv: first line 'a dog', expected the columns: query, or name,query",
    "": "q.csv: first line '', expected the columns",
    "name,query\n": "q.csv: has no query after its first line",
    "query\na dog, running\n": "q.csv, line 2: 2 cells, expected 1: query",
    "query\na dog\n\na dog\n": "q.csv, line 4: query and name must not be blank nor occur twice",
    "query,name\na dog,x\na cat,x\n": "q.csv, line 3: query and name must not be blank",
    'query\n"a dog\n': "q.csv, line 2: unexpected end of data, expected CSV",
    "query\na \0\n": "q.csv: is not text in UTF-8 (it has a NUL",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_file_of_queries_is_refused(made: Path, here: Path, text: str) -> None:
    (here / "q.csv").write_text(text)
    result = run(made, "films/a.mp4", "--queries", "q.csv")
    assert (result.exit_code, result.stdout) == (2, "")
    assert BAD_FILES[text] in result.stderr


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffname,query\r\nein Hündchen,ein Hündchen\r\n,\r\n",
        "query\n ein Hündchen \n\n",
    ],
)
def test_files_of_spreadsheets_and_editors(made: Path, here: Path, text: str) -> None:
    (here / "q.csv").write_bytes(text.encode())
    twice = ["ein Hündchen"] * 2
    result = run(made, "films/a.mp4", *twice, "--queries", "q.csv", "--json")
    (answer,) = json.loads(result.stdout)["answers"]
    assert answer["query"] == answer["name"] == "ein Hündchen"
