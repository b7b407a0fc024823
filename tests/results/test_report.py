"""The report: its inputs belong together, it shows the measured values, no text becomes markup."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vl_convert
from PIL import Image
from typer.testing import CliRunner

from hlclip.cli import app
from hlclip.evaluation import RULES, SETTINGS, Setting, ground_truth, query_precision
from hlclip.formats import mean_of, read_calibration, write_calibration
from hlclip.results import page_charts as charts
from hlclip.results.experiments import METRICS
from hlclip.results.page import render, write_report
from hlclip.results.page_queries import SCALE, orders, pack_split, shown_first
from hlclip.results.page_tables import Cell, Table, coverage, missing, summary
from hlclip.results.run import ReportError, Run, read_run
from hlclip.results.thumbnails import Thumbnails, make_thumbnails
from hlclip.system.errors import HlclipError
from tests.runs import GONE, FinishedRun, finished_run, write_lock

ROOT = Path(__file__).parents[2]
HOSTILE = "</script><script>alert(1)</script> & <img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def run(finished: FinishedRun) -> Run:
    return read_run(finished.folder)


@pytest.fixture
def copied(finished: FinishedRun, tmp_path: Path) -> Path:
    """A copy of the run that may be damaged."""
    folder = tmp_path / "copy"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("store"))
    return folder


class Page(HTMLParser):
    """The elements of a page, its text, and the text of each script."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


# --- Reading a run ---


def test_a_run_is_read_whole(run: Run):
    assert run.variants == ["zero-shot", "HL-CLIP-2"]
    assert run.widths == dict.fromkeys(run.variants, run.params.pool.window)
    assert run.poolings == dict.fromkeys(run.variants, "mean of 3 clips")
    assert list(run.splits) == ["val", "test"]
    assert run.kept_epoch == 2
    assert [row["epoch"] for row in run.history] == [1, 2, 3, 4]
    assert run.splits["val"].scores.lengths[-1] == 0


def test_precision_is_that_of_the_predictions(run: Run):
    part = run.splits["test"]
    truth = ground_truth(part.scores.rows)
    expected = query_precision(truth, part.scores.cosines["zero-shot"])
    np.testing.assert_allclose(part.precision["zero-shot"], expected, atol=1e-12)
    assert set(part.precision) == set(part.figures)


def test_windows_that_were_chosen_on_val_are_taken_from_the_metrics(copied: Path, run: Run):
    path = copied / "outputs/figures.json"
    chosen = {"zero-shot": 5, "HL-CLIP-2": 9}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"window": chosen}))
    write_lock(copied, run.params)
    read = read_run(copied)
    assert read.widths == chosen
    assert read.poolings == {"zero-shot": "mean of 5 clips", "HL-CLIP-2": "mean of 9 clips"}
    text = "zero-shot: mean of 5 clips; HL-CLIP-2: mean of 9 clips; border: neighbours"
    assert f"<dt>pooling</dt><dd>{text}</dd>" in render(read, Thumbnails())


def test_scores_have_the_maps_of_the_run(run: Run, copied: Path):
    calibration = read_calibration(copied / "outputs/calibration.json")
    assert set(run.maps) == {"zero-shot", "zero-shot (SP)", "HL-CLIP-2", "HL-CLIP-2 (SP)"}
    for name in run.variants:
        for shown, window in ((name, 1), (f"{name} (SP)", 3)):
            found = calibration.find(name, mean_of(window))
            assert found is not None
            assert run.maps[shown] == found.rating
    page = Page(render(run, Thumbnails()))
    assert page.data["maps"] == json.loads(json.dumps(run.maps))
    metrics = json.loads((copied / "outputs/figures.json").read_text())["calibration"]
    assert run.errors == metrics
    assert "test: errors of the expected ratings" in page.text
    assert f"{metrics['test']['HL-CLIP-2 (SP)']['MAE']:.2f}" in page.text


def test_a_run_without_maps_says_why(copied: Path, run: Run):
    path = copied / "outputs/calibration.json"
    found = read_calibration(path)
    write_calibration(path, replace(found, maps=(), missing="val has 3 clips <b>"))
    write_lock(copied, run.params)
    other = read_run(copied)
    assert other.maps == {}
    page = Page(render(other, Thumbnails()))
    assert "No scores are shown as ratings: val has 3 clips <b>." in page.text
    assert "expected rating" not in json.dumps(page.data["saliency"])


@pytest.mark.parametrize(
    "name",
    [
        "outputs/figures.json",
        "outputs/calibration.json",
        "outputs/reliability.csv",
        "outputs/score.safetensors",
        "outputs/train.safetensors",
        "outputs/train.csv",
        "outputs/window.csv",
        "outputs/index.json",
        "outputs/frames.json",
    ],
)
def test_a_file_that_is_absent_or_of_another_run_is_refused(copied: Path, name: str, run: Run):
    path = copied / name
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(ReportError, match=rf"{re.escape(name)}: not of the run in .*dvc\.lock\n"):
        read_run(copied)
    path.unlink()
    with pytest.raises(ReportError, match=rf"{re.escape(name)}: not there\n`dvc checkout`.*repro"):
        read_run(copied)
    write_lock(copied, run.params)
    with pytest.raises(ReportError, match=rf"no stage has made {re.escape(name)}\n.*dvc repro"):
        read_run(copied)


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("")])
def test_predictions_of_another_run_are_refused(copied: Path, change: Callable[[Path], None]):
    change(copied / "outputs/predictions/test-HL-CLIP-2-SP.jsonl")
    with pytest.raises(ReportError, match=r"outputs/predictions: not of the run in"):
        read_run(copied)


def test_metrics_that_are_not_of_the_predictions_are_refused(copied: Path, run: Run):
    path = copied / "outputs/figures.json"
    metrics = json.loads(path.read_text())
    metrics["val"]["zero-shot"]["VeryGood"]["mAP"] += 1
    path.write_text(json.dumps(metrics))
    write_lock(copied, run.params)
    with pytest.raises(ReportError, match=r"val zero-shot VeryGood mAP is .* predictions give"):
        read_run(copied)


def test_moments_that_are_not_of_the_predictions_are_refused(copied: Path, run: Run):
    path = copied / "outputs/figures.json"
    metrics = json.loads(path.read_text())
    metrics["val"]["zero-shot"]["moments"]["mAP"] -= 1
    path.write_text(json.dumps(metrics))
    write_lock(copied, run.params)
    with pytest.raises(ReportError, match=r"val zero-shot moments mAP is .* predictions give"):
        read_run(copied)


def test_predictions_without_moments_are_refused(copied: Path, run: Run):
    path = copied / "outputs/predictions/test-HL-CLIP-2-SP.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        del row["pred_relevant_windows"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_lock(copied, run.params)
    with pytest.raises(ReportError, match=r"SP\.jsonl: not a moment for each query"):
        read_run(copied)


def test_parameters_of_another_training_are_refused(copied: Path, run: Run):
    train = run.params.train.model_copy(update={"seed": 1})
    write_lock(copied, run.params.model_copy(update={"train": train}))
    with pytest.raises(ReportError, match=r"section train differs from the parameters") as caught:
        read_run(copied)
    # DVC takes every stage for finished here, and one stage alone would leave those after it.
    assert caught.value.remedy() == "run `dvc repro --force`, then the report"


def test_parameters_are_those_of_the_run_and_not_of_params_yaml(copied: Path, run: Run):
    text = (ROOT / "params.yaml").read_text().replace("window: 3 ", "window: 11 ")
    (copied / "params.yaml").write_text(text)
    assert read_run(copied).params == run.params
    assert run.params.pool.window == 3


def test_stages_of_several_runs_are_refused(copied: Path):
    path = copied / "dvc.lock"
    lock = path.read_text().replace("stages:", "stages:\n  later: {params: {params.yaml: %s}}")
    path.write_text(lock % "{pool.window: 11}")
    with pytest.raises(ReportError, match=r"several runs: pool\.window is 3 in all, 11 in a"):
        read_run(copied)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("outputs/figures.json", b"null"),
        ("outputs/figures.json", b"{"),
        ("outputs/train.csv", b"epoch,loss\n1,?\n"),
        ("outputs/window.csv", b"\xff\xfe"),
        ("outputs/index.json", b"{}"),
        ("outputs/score.safetensors", b""),
    ],
)
def test_malformed_files_are_named(copied: Path, name: str, content: bytes, run: Run):
    (copied / name).write_bytes(content)
    write_lock(copied, run.params)
    with pytest.raises(
        HlclipError, match=rf"{name}: (not as hlclip writes it|damaged, or not written by)"
    ):
        read_run(copied)


# --- Tables ---


def test_the_summary_marks_the_best_of_each_column(run: Run):
    table = summary(run)[0]
    assert list(table.rows) == ["zero-shot", "zero-shot (SP)", "HL-CLIP-2", "HL-CLIP-2 (SP)"]
    assert list(table.groups) == ["Very Good", "Good", "Fair", "Moments"]
    for column in zip(*table.rows.values(), strict=True):
        values = [float(cell.text) for cell in column]
        assert [cell.marked for cell in column] == [value == max(values) for value in values]
    first = run.splits["val"].figures["zero-shot"]["VeryGood"]
    assert [cell.text for cell in table.rows["zero-shot"][:2]] == [
        f"{first['mAP']:.2f}",
        f"{first['HIT@1']:.2f}",
    ]


def test_the_report_names_the_rule_for_moments(run: Run):
    assert run.rules == {name: Setting("consensus", 2) for name in run.variants}
    html = render(run, Thumbnails())
    assert "<dt>moments</dt><dd>consensus (focus 2)</dd>" in html
    assert f"Their rule is consensus (focus 2): {RULES['consensus']}." in html


def test_every_rule_is_explained_and_named_with_its_variant(run: Run):
    assert set(RULES) == {setting.rule for setting in SETTINGS}
    rules = {"zero-shot": Setting("peaks", 2), "HL-CLIP-2": Setting("consensus", 0.5)}
    html = render(replace(run, rules=rules), Thumbnails())
    assert "<dd>zero-shot peaks, HL-CLIP-2 consensus (focus 0.5)</dd>" in html


def test_the_headline_says_what_fell_too(run: Run):
    val = run.splits["val"]
    change = {"zero-shot (SP)": (30.0, 60.0), "HL-CLIP-2": (45.0, 50.0), "HL-CLIP-2 (SP)": (40, 50)}
    figures = {
        name: levels | {"VeryGood": dict(zip(METRICS, change[name], strict=True))}
        if name in change
        else levels
        for name, levels in val.figures.items()
    }
    page = Page(render(replace(run, splits={"val": replace(val, figures=figures)}), Thumbnails()))
    text = " ".join(page.text.split())
    assert "from fine-tuning: +10.00 mAP, -10.00 HIT@1" in text
    assert "from pooling: -5.00 mAP, +0.00 HIT@1" in text


def test_a_narrow_screen_has_a_row_for_each_metric(run: Run):
    table = summary(run)[0]
    turned = table.transposed()
    assert list(turned.groups[""]) == list(table.rows)
    assert list(turned.rows)[:3] == ["Very Good mAP", "Very Good HIT@1", "Good mAP"]
    assert [row[1] for row in turned.rows.values()] == list(table.rows["zero-shot (SP)"])


def test_the_summary_has_moments_where_they_were_measured(run: Run):
    val = run.splits["val"]
    figures = {
        name: levels | {"moments": {"R1@0.5": 50.0 + n, "mAP": 30.0}}
        for n, (name, levels) in enumerate(val.figures.items())
    }
    test = run.splits["test"]
    without = {
        n: {g: f for g, f in each.items() if g != "moments"} for n, each in test.figures.items()
    }
    splits = {"val": replace(val, figures=figures), "test": replace(test, figures=without)}
    table, other = summary(replace(run, splits=splits))
    assert list(table.groups) == ["Very Good", "Good", "Fair", "Moments"]
    assert [cell.text for cell in table.rows["zero-shot"][6:]] == ["50.00", "30.00"]
    assert [row[6].marked for row in table.rows.values()] == [False, False, False, True]
    assert "Moments" not in other.groups


def test_coverage_counts_and_names_missing_videos(run: Run):
    cells = {split: [cell.text for cell in row] for split, row in coverage(run).rows.items()}
    assert cells == {"val": ["30", "30", "1", "1", "0"], "test": ["30", "30", "0", "0", "0"]}
    assert {vid: [c.text for c in row] for vid, row in missing(run).rows.items()} == {
        GONE: ["val", "no <file>"]
    }


# --- Queries ---


def test_curves_and_ratings_survive_packing(run: Run):
    packed = json.loads(json.dumps(pack_split(run, "val")))
    part = run.splits["val"]
    ratings = np.frombuffer(base64.b64decode(packed["ratings"]), np.uint8).reshape(30, 12, 3)
    np.testing.assert_array_equal(ratings, [row.ratings() for row in part.scores.rows])
    for name, matrix in part.predictions.items():
        curves = np.frombuffer(base64.b64decode(packed["curves"][name]), "<i2").reshape(30, 12)
        np.testing.assert_allclose(curves / SCALE, matrix, atol=0.5 / SCALE + 1e-7)
    assert packed["missing"] == {"29": "no <file>"}
    assert packed["peaks"][29] == []
    truth = part.scores.rows[3].relevant_windows or ()
    assert len(truth) == 1
    predicted = part.windows["HL-CLIP-2 (SP)"][3][:5]
    assert packed["moments"][3] == [
        *(["truth", *window] for window in truth),
        *([str(rank), *window[:2]] for rank, window in enumerate(predicted, start=1)),
    ]
    first = part.predictions["HL-CLIP-2 (SP)"][3]
    assert first[packed["peaks"][3][0]] == first.max()


def test_queries_without_video_or_very_good_clip_are_not_ranked(run: Run):
    percent = orders(run, run.splits["val"])
    highlights = ["highlight AP", "gain from fine-tuning", "gain from pooling"]
    moments = ["moment AP", "IoU of the first moment"]
    assert list(percent) == highlights + moments
    for name, values in percent.items():
        unranked = [0, 29] if name in highlights else [29]  # unrated, without video
        assert np.flatnonzero(np.isnan(values)).tolist() == unranked
    ap = run.splits["val"].precision
    np.testing.assert_allclose(
        percent["gain from pooling"][1:29],
        100 * (ap["HL-CLIP-2 (SP)"] - ap["HL-CLIP-2"])[1:29],
    )


def test_shown_first_ranks_queries_from_both_ends_of_every_order():
    values = {"a": np.array([5.0, 1, 3, 2, 4]), "b": np.array([1.0, 2, np.nan, 9, 3])}
    assert shown_first(values, 5).tolist() == [0, 0, 2, 0, 1]
    assert shown_first({}, 3).tolist() == [0, 1, 2]


# --- Thumbnails ---


def test_pictures_are_the_frames_of_the_peaks(run: Run, finished: FinishedRun):
    made = make_thumbnails(run, store=finished.store, queries=10)
    pictures = [each for split in made.pictures.values() for each in split.values()]
    assert (len(pictures), made.chosen, made.without) == (10, 10, 0)
    split, query = next((s, q) for s, each in made.pictures.items() for q in each)
    clips = made.pictures[split][query]
    assert set(map(str, pack_split(run, split)["peaks"][int(query)])) <= set(clips)
    for address in clips.values():
        content = base64.b64decode(address.removeprefix("data:image/jpeg;base64,"))
        assert Image.open(io.BytesIO(content)).size == (64, 64)


def test_deleted_frames_are_counted_on_the_page(run: Run, tmp_path: Path):
    out = tmp_path / "report.html"
    made = write_report(run, out, store=tmp_path / "empty", thumbnails=10)
    assert (made.pictures, made.chosen, made.without) == ({}, 10, 10)
    page = Page(out.read_text())
    assert "frames of 10 of 10 queries are not in the store" in page.text
    assert str(tmp_path) not in out.read_text()


# --- Charts ---


@pytest.mark.parametrize("rated", [True, False])
def test_charts_are_valid(run: Run, rated: bool):
    specs = [
        charts.over_epochs(run.history, "loss", title="loss", kept_epoch=2),
        charts.over_widths(run.by_width["mean"], run.variants, run.widths, title="window"),
        charts.over_widths(run.by_width["gaussian"], run.variants, {}, title="sigma"),
        charts.saliency(
            run.variants, annotators=3 if rated else 0, rating_scale=(0, 4), expected=rated
        ),
        charts.reliability(run.reliability, run.variants),
    ]
    for spec in specs:
        assert vl_convert.vegalite_to_svg(spec).startswith("<svg")


def test_a_variant_has_the_same_colour_in_the_plots_of_dvc():
    for name in ("window", "saliency", "reliability"):
        assert json.dumps(list(charts.COLOURS)) in (ROOT / f".dvc/plots/{name}.json").read_text()


# --- The page ---


def test_the_page_loads_no_other_file(run: Run):
    html = render(run, Thumbnails())
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, value)
    assert len(page.scripts) == 3
    assert "vegaEmbed" in page.scripts[1]
    assert "default-src 'none'" in html


def test_same_run_same_bytes(run: Run, finished: FinishedRun, tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_report(run, tmp_path / name, store=finished.store, thumbnails=4)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_text_of_the_data_is_never_markup(tmp_path: Path):
    hostile = finished_run(tmp_path, queries=4, text=HOSTILE)
    html = render(read_run(hostile.folder), Thumbnails())
    assert "alert(1)</script>" not in html
    page = Page(html)
    assert len(page.scripts) == 3
    assert [tag for tag, _ in page.elements].count("img") == 0
    assert page.data["splits"]["val"]["queries"][1] == f"{HOSTILE} number 1"
    assert GONE in page.text
    assert "<b>video</b>" not in html


def test_a_temporal_head_is_named(run: Run):
    assert "temporal head" not in Page(render(run, Thumbnails())).text
    train = run.params.train.model_copy(update={"temporal": "conv", "temporal_depth": 2})
    with_head = replace(run, params=run.params.model_copy(update={"train": train}))
    text = Page(render(with_head, Thumbnails())).text
    assert "temporal head2 convolutions over 5 clips, 128 channels" in text


def test_every_table_has_a_caption_and_heads(run: Run):
    page = Page(render(run, Thumbnails()))
    tags = [tag for tag, _ in page.elements]
    # Two of results, each in a wide and a narrow form, one of training, one for each split with
    # windows, three of expected ratings, then coverage, missing videos and parameters.
    assert tags.count("table") == tags.count("caption") == 11 + len(run.by_width)
    assert all(attributes.get("scope") for tag, attributes in page.elements if tag == "th")
    charts_of_page = [a for _, a in page.elements if a.get("data-chart")]
    assert [a["data-chart"] for a in charts_of_page][:3] == ["loss", "val_mAP", "val_HIT@1"]
    assert all(a["role"] == "img" and a["aria-label"] for a in charts_of_page)


def test_further_tables_stand_below_the_results(run: Run):
    table = Table("three seeds", "variant", {"": ("mAP",)}, {"HL-CLIP-2": [Cell("40.1 ± 0.2")]})
    assert "40.1 ± 0.2" in Page(render(run, Thumbnails(), further=[table])).text


def test_zero_shot_and_blind_splits_have_a_report(tmp_path: Path):
    finished = finished_run(tmp_path, queries=4, blocks=0, blind=True)
    page = Page(render(read_run(finished.folder), Thumbnails()))
    assert "Nothing was trained" in page.text
    assert page.data["variants"] == ["zero-shot"]
    assert list(page.data["splits"]["val"]["orders"]) == [
        "highlight AP",
        "gain from pooling",
        "moment AP",
        "IoU of the first moment",
    ]
    blind = page.data["splits"]["test"]
    assert (blind["ratings"], blind["orders"], blind["favourites"]) == (None, {}, [])
    assert all(moments[0][0] == "1" for moments in blind["moments"])


def test_rows_without_windows_have_no_figures_of_moments(run: Run):
    splits = {name: replace(part, moments={}) for name, part in run.splits.items()}
    page = Page(render(replace(run, splits=splits), Thumbnails()))
    assert "By highlights" in page.text
    assert "By moments" not in page.text
    assert "moment AP" not in page.data["splits"]["val"]["orders"]


def test_a_report_of_the_size_of_qvhighlights_val_is_small(tmp_path: Path):
    def size(queries: int) -> int:
        folder = tmp_path / f"{queries}"
        folder.mkdir()
        finished = finished_run(folder, queries=queries, clips=75, frame=None)
        return len(render(read_run(finished.folder), Thumbnails()).encode())

    few = size(10)
    of_a_query = (size(60) - few) / 50  # on val and test
    # Two such splits and thumbnails of 240 queries (4 of 3.6 kB each) stay below 10 MB.
    assert few + 1540 * of_a_query < 6_000_000
    assert of_a_query > 2 * 75  # each clip has a score


# --- The command ---


def test_the_command_writes_the_report_and_prints_its_path(
    finished: FinishedRun, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HLCLIP_STORE", str(finished.store))
    result = CliRunner().invoke(app, ["report", str(finished.folder), "--thumbnails", "2"])
    assert result.exit_code == 0, result.stderr
    path = finished.folder / "outputs" / "report.html"
    assert result.stdout == f"{path}: {path.stat().st_size / 1e6:.1f} MB\n"
    assert path.read_text().count("data:image/jpeg") > 2
    arguments = ["report", str(finished.folder), "--thumbnails", "0", "--json"]
    again = json.loads(CliRunner().invoke(app, arguments).stdout)
    assert again["report"] == str(path)
    assert again["bytes"] == path.stat().st_size


def test_the_command_without_a_run_prints_a_remedy(tmp_path: Path):
    result = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert result.exit_code == 2
    assert (
        "dvc.lock: not there\nname the folder of a finished run; in a project `dvc repro` makes one"
        in result.stderr
    )
    assert not (tmp_path / "outputs").exists()
