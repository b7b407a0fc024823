"""`dvc plots show` out of the box: each template draws its file, for one revision and for two."""

import configparser
import json
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from dvc_render.html import render_html
from dvc_render.vega import VegaRenderer
from playwright.sync_api import Browser, expect
from ruamel.yaml import YAML

from hlclip.evaluation.splits import SETTINGS
from hlclip.pipeline.calibration import COLUMNS as CALIBRATION_COLUMNS
from hlclip.pipeline.calibration import RATING, VERY_GOOD
from hlclip.pipeline.choices import SIGMAS, WINDOWS
from hlclip.pipeline.examples import COLUMNS
from hlclip.training.fit import HISTORY as HISTORY_COLUMNS

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / ".dvc/plots"
# The page that DVC writes loads Vega-Lite 5.2; this is the oldest that comes with vl-convert.
VEGA_LITE = "5.8"


def text(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """As DVC reads a CSV file: all text."""
    return [{name: str(value) for name, value in row.items()} for row in rows]


HISTORY = text(
    [
        {"epoch": epoch, "loss": 1 / epoch, "val_mAP": 30 + epoch, "val_HIT@1": 70 - epoch}
        for epoch in range(1, 5)
    ]
)
WINDOW_LINES = text(
    [
        {"split": "val", "variant": variant, **width, "mAP": 40 - number, "HIT@1": 50}
        for variant in ("zero-shot", "HL-CLIP-2")
        for number, width in enumerate(
            [
                *({"mode": "mean", "window": window, "sigma": ""} for window in WINDOWS),
                *({"mode": "gaussian", "window": "", "sigma": sigma} for sigma in SIGMAS),
            ]
        )
    ]
)
MOMENT_LINES = text(
    [
        {"split": "val", "variant": variant, "rule": str(setting), "mAP": 40 - number}
        for variant in ("zero-shot", "HL-CLIP-2")
        for number, setting in enumerate(SETTINGS)
    ]
)
SALIENCY = text(
    [
        dict(zip(COLUMNS, (example, 1, "a boat", second, series, pooled, 0.5), strict=True))
        for example in ("hard", "middling", "easy")
        for series, pooled in (("annotator 1", "no"), ("zero-shot", "no"), ("zero-shot", "yes"))
        for second in (1.0, 3.0)
    ]
)
RELIABILITY = text(
    [
        dict(zip(CALIBRATION_COLUMNS, ("test", variant, scale, 0.1 * n, 0.09 * n, n), strict=True))
        for variant in ("zero-shot (SP)", "HL-CLIP-2 (SP)")
        for scale in (RATING, VERY_GOOD)
        for n in range(1, 9)
    ]
)
DATA = {
    "loss": HISTORY,
    "validation": [
        row | {"field": field, "filename": "outputs/train.csv", "value": row[field]}
        for row in HISTORY
        for field in ("val_mAP", "val_HIT@1")
    ],
    "outputs/window.csv": WINDOW_LINES,
    "outputs/moments.csv": MOMENT_LINES,
    "outputs/saliency.csv": SALIENCY,
    "outputs/reliability.csv": RELIABILITY,
}
SAYS = {
    "loss": ("Training loss", "epoch", "loss (train.loss)"),
    "validation": ("mAP", "HIT@1", "34.00", "69.00"),
    "outputs/window.csv": (
        "zero-shot",
        "HL-CLIP-2",
        "mean, window in clips",
        "gaussian, sigma in clips",
        "40.00",
    ),
    "outputs/moments.csv": (
        "zero-shot",
        "HL-CLIP-2",
        "MR-mAP (%)",
        "consensus (focus 8)",
        "peaks",
        "40.00",
    ),
    "outputs/reliability.csv": (
        "zero-shot (SP)",
        "HL-CLIP-2 (SP)",
        "mean rating, 0 to 4",
        "share of Very Good, 0 to 1",
        "given by the annotators",
    ),
    "outputs/saliency.csv": ("hard: a boat", "middling: a boat", "easy: a boat", "pooled"),
}


def plots() -> dict[str, dict[str, Any]]:
    listed = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["plots"]
    return {name: plot for entry in listed for name, plot in entry.items()}


def draw(name: str, *revisions: str) -> str:
    """SVG of a plot of dvc.yaml, filled by DVC's own renderer."""
    properties = dict(plots()[name])
    if isinstance(properties["x"], dict):
        (properties["x"],) = properties["x"].values()
        ((file, fields),) = properties["y"].items()
        several = isinstance(fields, list)
        properties["y"] = "value" if several else fields
        properties["anchors_y_definitions"] = [
            {"filename": file, "field": field} for field in (fields if several else [fields])
        ]
    points = [{**row, "rev": revision} for revision in revisions for row in DATA[name]]
    renderer = VegaRenderer(
        points,
        name,
        **properties | {"template_dir": str(TEMPLATES), "revs_with_datapoints": list(revisions)},
    )
    filled = renderer.partial_html()
    assert "<DVC_METRIC" not in filled
    return vl_convert.vegalite_to_svg(json.loads(filled), vl_version=VEGA_LITE)


def test_every_plot_has_a_template_of_its_own():
    named = {plot["template"] for plot in plots().values()}
    assert named == {path.stem for path in TEMPLATES.glob("*.json")}
    assert set(plots()) == set(DATA)


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("revisions", [("workspace",), ("workspace", "HEAD")])
def test_a_plot_draws_its_data(name: str, revisions: tuple[str, ...]):
    svg = draw(name, *revisions)
    for words in SAYS[name]:
        assert words in svg
    assert "NaN" not in svg
    marks = "mark-symbol" if name == "outputs/moments.csv" else "mark-line"
    assert svg.count(marks) >= len(revisions)


def test_a_column_that_was_not_measured_has_no_panel(monkeypatch: pytest.MonkeyPatch):
    """val_HIT@1 of other data sets than QVHighlights."""
    measured = [
        row | ({"value": "", "val_HIT@1": ""} if row["field"] == "val_HIT@1" else {})
        for row in DATA["validation"]
    ]
    monkeypatch.setitem(DATA, "validation", measured)
    svg = draw("validation", "workspace")
    assert "34.00" in svg
    assert "HIT@1" not in svg


def test_a_ring_is_the_reports_mark_for_what_is_in_use_and_no_plot_has_it():
    for path in TEMPLATES.glob("*.json"):
        assert '"filled": false' not in path.read_text(), path


def test_the_page_without_network_says_where_the_charts_are(tmp_path: Path, browser: Browser):
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc/config")
    template = ROOT / ".dvc" / config["plots"]["html_template"]
    path = render_html([], tmp_path / "plots" / "index.html", html_template=template)
    page = browser.new_page()
    page.goto(Path(path).as_uri())
    expect(page.locator("#offline")).to_contain_text("hlclip report")
    expect(page.locator("#offline")).to_be_visible()
    page.add_init_script("window.vegaEmbed = () => {}")
    page.reload()
    expect(page.locator("#offline")).to_be_hidden()
    page.close()


def test_training_writes_the_columns_that_are_plotted():
    assert set(HISTORY[0]) <= set(HISTORY_COLUMNS)
