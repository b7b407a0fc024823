"""Tables: averages over seeds, refusals to average what differs, the paper's figures."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pytest

from hlclip.formats import LEVELS
from hlclip.results.experiments import Experiment, ExperimentsError
from hlclip.results.page_tables import seed_tables
from hlclip.results.selection import matching
from hlclip.results.table import comparable, lines
from hlclip.results.table_text import as_json, render

BASE = {"train.blocks": "2", "train.seed": "0", "train.lr": "0.0003", "pool.window": "3"}


def run(name: str, mean_ap: float, *, data: str = "abc", **params: str) -> Experiment:
    """An experiment with all figures derived from `mean_ap`."""
    settings = BASE | {key.replace("__", "."): value for key, value in params.items()}

    def figures(base: float) -> dict[str, dict[str, float]]:
        return {level: {"mAP": base, "HIT@1": base + 30} for level in LEVELS}

    tuned = f"HL-CLIP-{settings['train.blocks']}"
    tuned += "+conv" if settings.get("train.temporal") == "conv" else ""
    variants = {
        "zero-shot": figures(30.0),
        "zero-shot (SP)": figures(31.0),
        tuned: figures(mean_ap),
        f"{tuned} (SP)": figures(mean_ap + 2),
    }
    return Experiment(
        name=name,
        data=data,
        params=settings,
        code={"hlclip/pipeline/train.py": "1"},
        figures={"val": variants, "test": variants},
        queries={"val": 1550, "test": 1542},
        without_video={"val": 0, "test": 0},
    )


def seeds(**params: str) -> list[Experiment]:
    values = (40.0, 40.5, 42.0)
    return [run(f"e{n}{params}", v, train__seed=str(n), **params) for n, v in enumerate(values)]


def averaged(runs: Sequence[Experiment], by: Sequence[str] = ()) -> list[Experiment]:
    """Runs of which none is left out."""
    shown, left_out = comparable(runs, by)
    assert left_out == []
    return shown


def test_mean_and_standard_deviation_over_seeds():
    table = {(line.split, line.variant): line for line in lines(averaged(seeds()))}
    tuned = table["val", "HL-CLIP-2"]
    assert tuned.runs == 3
    assert tuned.mean["mAP"] == pytest.approx(122.5 / 3)
    assert tuned.sd is not None
    assert tuned.sd["HIT@1"] == pytest.approx(statistics.stdev([70, 70.5, 72]))
    assert tuned.paper == {"mAP": 40.00, "HIT@1": 68.99}
    assert table["test", "HL-CLIP-2 (SP)"].paper == {"mAP": 41.94, "HIT@1": 70.60}
    assert table["test", "HL-CLIP-2"].paper is None


def with_moments(each: Experiment, base: float, **params: str) -> Experiment:
    moments = {"R1@0.5": base + 20, "R1@0.7": base, "mAP": base - 5}
    figures = {
        split: {name: levels | {"moments": moments} for name, levels in variants.items()}
        for split, variants in each.figures.items()
    }
    params = {key.replace("__", "."): value for key, value in params.items()}
    return replace(each, figures=figures, params=each.params | params)


def test_moments_are_columns_of_table_1():
    runs = averaged([with_moments(each, 30.0 + n) for n, each in enumerate(seeds())])
    table = lines(runs)
    tuned = next(x for x in table if (x.split, x.variant) == ("test", "HL-CLIP-2"))
    assert tuned.mean["MR-R1@0.5"] == 51
    assert tuned.sd is not None
    assert tuned.sd["MR-mAP"] == 1
    test, val = render(table, runs, style="markdown", level="VeryGood").split("Table 2 (val)")
    assert test.startswith("Table 1 (test)")
    assert "MR" not in val
    assert "| MR-R1@0.5    | MR-R1@0.7    | MR-mAP       |" in test
    assert "| 51.00 ± 1.00 | 31.00 ± 1.00 | 26.00 ± 1.00 |" in test
    written = csv.DictReader(io.StringIO(render(table, runs, style="csv", level="Fair")))
    row = next(row for row in written if (row["split"], row["variant"]) == ("test", "HL-CLIP-2"))
    assert (row["MR-mAP"], row["MR-mAP_sd"]) == ("26.0000", "1.0000")
    assert "paper_MR-mAP" not in row


def test_a_temporal_head_never_stands_for_the_papers_model():
    plain, with_head = seeds(train__temporal="none"), seeds(train__temporal="conv")
    shown, left_out = comparable([*with_head, *plain])
    assert {line.variant for line in lines(shown)} == {
        "zero-shot", "zero-shot (SP)", "HL-CLIP-2+conv", "HL-CLIP-2+conv (SP)"
    }  # fmt: skip
    assert all(line.paper is None for line in lines(shown) if "conv" in line.variant)
    (reason,) = left_out
    assert reason.endswith("train.temporal = none, not conv")
    compared = lines(averaged([*plain, *with_head], ["train.temporal"]), by=["train.temporal"])
    paper = {line.variant: line.paper for line in compared}
    assert paper["HL-CLIP-2"] == {"mAP": 40.00, "HIT@1": 68.99}
    assert paper["HL-CLIP-2+conv"] is None


def test_rules_for_moments_are_compared_on_val():
    runs = [
        with_moments(each, 30.0 + n, moments__rule=rule)
        for n, rule in enumerate(("consensus", "histogram"))
        for each in seeds()
    ]
    table = lines(averaged(runs, ["moments.rule"]), by=["moments.rule"])
    text = render(table, runs, style="terminal", level="VeryGood")
    assert "HL-CLIP-2, moments.rule=histogram" in text
    assert "MR-mAP" in text
    assert "Table 1" not in text


def test_another_loss_never_stands_for_the_papers():
    """Alone, or as most of the runs that are compared."""
    paper, centred = seeds(train__loss="mse"), seeds(train__loss="centred")
    (alone,) = [each for each in lines(averaged(centred)) if each.label.startswith("HL-CLIP-2,")
                and each.split == "val"]  # fmt: skip
    assert alone.label == "HL-CLIP-2, train.loss=centred"
    shown, left_out = comparable([*centred, *paper])
    assert shown == centred
    assert [text.endswith("}: train.loss = mse, not centred") for text in left_out] == [True]
    compared = lines(averaged([*centred, *paper[:2]], ["train.loss"]), by=["train.loss"])
    figures = {line.label: line.paper for line in compared}
    assert figures["HL-CLIP-2"] == {"mAP": 40.00, "HIT@1": 68.99}
    assert figures["HL-CLIP-2, train.loss=centred"] is None
    assert {line.runs for line in compared if line.variant == "HL-CLIP-2"} == {2, 3}


def test_zero_shot_is_one_run_whatever_the_seeds():
    table = {line.variant: line for line in lines(averaged(seeds()))}
    assert table["zero-shot"].runs == 1
    assert table["zero-shot"].sd is None


def test_lines_come_in_the_papers_order():
    runs = averaged(seeds() + seeds(train__blocks="1"))
    assert [line.variant for line in lines(runs) if line.split == "val"] == [
        "zero-shot",
        "zero-shot (SP)",
        "HL-CLIP-1",
        "HL-CLIP-1 (SP)",
        "HL-CLIP-2",
        "HL-CLIP-2 (SP)",
    ]
    assert [line.split for line in lines(runs)] == ["val"] * 6 + ["test"] * 6


def test_runs_with_other_parameters_are_left_out_and_named():
    others = [run("other", 50.0, train__lr="0.001"), run("window", 45.0, pool__window="7")]
    shown, left_out = comparable([*seeds(), *others])
    assert [each.name for each in shown] == [each.name for each in seeds()]
    assert left_out == ["other: train.lr = 0.001, not 0.0003", "window: pool.window = 7, not 3"]
    # The first run decides which runs are shown: `finished_experiments` gives the workspace first.
    assert comparable([*others, *seeds()])[0] == others[:1]


def test_many_runs_that_are_left_out_are_counted():
    others = [run(f"o{n}", 50.0, train__lr="0.001", train__seed=str(n)) for n in range(7)]
    assert comparable([*seeds(), *others])[1] == [
        "o0, o1, o2, o3, o4 and 2 more: train.lr = 0.001, not 0.0003"
    ]


def test_data_sets_are_never_mixed():
    other = run("else", 50.0, data="def", train__seed="7")
    assert comparable([*seeds(), other])[1] == ["else: data = def, not abc"]


def test_one_configuration_counts_once_with_its_first_result():
    again = replace(seeds()[0], name="workspace")
    assert len(averaged([*seeds(), again])) == 3
    new = replace(run("new", 44.0), code={"hlclip/pipeline/train.py": "2"})
    shown, left_out = comparable([new, *seeds()])
    assert [each.name for each in shown] == ["new", *(each.name for each in seeds()[1:])]
    (line,) = left_out
    assert line.startswith(f"{seeds()[0].name}: the parameters of new and other figures")
    assert "hlclip/pipeline/train.py" in line


def test_no_runs_is_an_error():
    with pytest.raises(ExperimentsError, match="dvc repro"):
        comparable([])


def test_an_ablation_compares_on_val_and_names_what_differs():
    runs = averaged(seeds() + seeds(train__lr="0.001")[:2], by=["train.lr"])
    table = lines(runs, by=["train.lr"])
    assert {line.split for line in table} == {"val"}
    shown = [(line.variant, line.setting, line.runs) for line in table]
    assert ("HL-CLIP-2", "", 3) in shown
    assert ("HL-CLIP-2", "train.lr=0.001", 2) in shown
    assert [s for v, s, _ in shown if v == "zero-shot"] == [""]  # does not depend on training
    assert all(line.paper is None for line in table if line.setting)


def test_compared_numbers_come_by_size():
    windows = ("15", "3", "9")
    runs = [each for window in windows for each in seeds(pool__window=window)]
    table = lines(averaged(runs, by=["pool.window"]), by=["pool.window"])
    # The value of most runs, here the first, has no name and comes first.
    assert [line.setting for line in table if line.variant == "HL-CLIP-2"] == [
        "",
        "pool.window=3",
        "pool.window=9",
    ]
    runs += seeds(pool__window="11")
    with pytest.raises(ExperimentsError, match=r"pool\.window = 3, 9, 11, 15$"):
        matching(runs, ["pool.window=5"])
    some = [run(value, 40.0, pool__mode=value) for value in ("max", "2", "0.001", "1e-05")]
    table = lines(comparable(some, by=["pool.mode"])[0], by=["pool.mode"])
    named = [line.setting for line in table if line.variant == "HL-CLIP-2" and line.setting]
    assert [text.removeprefix("pool.mode=") for text in named] == ["1e-05", "0.001", "2"]


def encoder(model: str, pretrained: str, resize: str) -> dict[str, str]:
    frames = {"frames__size": "224", "frames__resize": resize, "frames__interpolation": "bicubic"}
    return {"encoder__model": model, "encoder__pretrained": pretrained, **frames}


def test_encoders_are_compared_with_their_own_weights_and_frames():
    small = encoder("ViT-B-32-quickgelu", "openai", "shortest")
    large = encoder("ViT-SO400M-14-SigLIP2", "webli", "squash")
    other = encoder("ViT-B-32-quickgelu", "metaclip_400m", "shortest")
    by = ["encoder.model"]
    table = lines(averaged(seeds(**small) + seeds(**large)[:2] + seeds(**other)[:1], by), by=by)
    shown = [(line.setting, line.runs) for line in table if line.variant == "HL-CLIP-2"]
    assert shown == [
        ("encoder.model=ViT-B-32-quickgelu, encoder.pretrained=metaclip_400m", 1),
        ("encoder.model=ViT-B-32-quickgelu, encoder.pretrained=openai", 3),
        ("encoder.model=ViT-SO400M-14-SigLIP2, encoder.pretrained=webli", 2),
    ]
    zero_shot = [line.setting for line in table if line.variant == "zero-shot"]
    assert zero_shot == [setting for setting, _ in shown]
    # What does not follow from the encoder is kept apart.
    slower = run("slower", 50.0, train__lr="0.001", **large)
    assert comparable([*seeds(**small), *seeds(**large), slower], by)[1] == [
        "slower: train.lr = 0.001, not 0.0003"
    ]


def test_weights_of_one_model_are_compared_with_their_own_frames():
    shortest = encoder("ViT-H-14-quickgelu", "metaclip_fullcc", "shortest")
    squashed = encoder("ViT-H-14-quickgelu", "dfn5b", "squash")
    by = ["encoder.pretrained"]
    table = lines(averaged(seeds(**shortest) + seeds(**squashed), by), by=by)
    settings = {line.setting for line in table}
    assert settings == {"encoder.pretrained=metaclip_fullcc", "encoder.pretrained=dfn5b"}


def test_an_unknown_parameter_is_refused():
    with pytest.raises(
        ExperimentsError,
        match=r"train\.lrr: unknown parameter, expected one of pool\.window, train\.blocks",
    ):
        comparable(seeds(), by=["train.lrr"])


def test_comparing_needs_two_values_and_never_seeds():
    with pytest.raises(ExperimentsError, match=r"all runs have train\.lr = 0\.0003"):
        comparable(seeds(), by=["train.lr"])
    with pytest.raises(ExperimentsError, match="averaged over"):
        comparable(seeds(), by=["train.seed"])
    apart = [*seeds(), run("other", 50.0, train__lr="0.001", pool__window="7")]
    with pytest.raises(ExperimentsError, match=r"differ in more: pool\.window = 3, not 7"):
        comparable(apart, by=["train.lr"])


def test_a_comparison_is_of_the_first_run_that_others_can_be_compared_with():
    pair = [run("a", 50.0, pool__window="7"), run("b", 51.0, pool__window="7", train__lr="0.001")]
    shown, left_out = comparable([*seeds(), *pair], by=["train.lr"])
    assert shown == pair
    assert left_out == [f"{', '.join(e.name for e in seeds())}: pool.window = 3, not 7"]


def test_matching_selects_and_lists_the_values():
    runs = seeds() + seeds(train__blocks="1")
    assert {r.params["train.blocks"] for r in matching(runs, ["train.blocks=1"])} == {"1"}
    with pytest.raises(ExperimentsError, match=r"train\.blocks = 1, 2"):
        matching(runs, ["train.blocks=3"])
    with pytest.raises(ExperimentsError, match="unknown parameter, expected one of pool"):
        matching(runs, ["blocks=3"])
    with pytest.raises(ExperimentsError, match="expected KEY=VALUE"):
        matching(runs, ["blocks"])


@pytest.mark.parametrize("style", ["terminal", "markdown"])
def test_the_text_has_both_tables_and_the_papers_figures(style):
    runs = averaged(seeds())
    text = render(lines(runs), runs, style=style, level="VeryGood")
    assert "Table 2 (val)" in text
    assert "Table 1 (test)" in text
    assert "40.83 ± 1.04" in text
    assert "42.40" in text
    assert "left out" not in text
    fair = render(lines(runs, level="Fair"), runs, style=style, level="Fair")
    assert "paper: mAP" not in fair  # the paper gives VeryGood alone


def test_the_papers_figures_are_left_out_for_other_data():
    small = [replace(r, queries={"val": 100, "test": 1542}) for r in averaged(seeds())]
    text = render(lines(small), small, style="terminal", level="VeryGood")
    assert "not on QVHighlights (100 val queries, 1542 test queries)" in text
    assert "paper: mAP" not in text
    assert "42.40" not in text


def test_queries_without_video_are_in_the_notes():
    runs = [replace(r, without_video={"val": 3, "test": 0}) for r in averaged(seeds())]
    text = render(lines(runs), runs, style="terminal", level="VeryGood")
    assert "3 of 1550 val queries have no video" in text


def test_csv_has_a_row_for_each_line():
    runs = averaged(seeds())
    text = render(lines(runs), runs, style="csv", level="VeryGood")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 8
    tuned = next(r for r in rows if r["variant"] == "HL-CLIP-2" and r["split"] == "val")
    assert float(tuned["mAP"]) == pytest.approx(122.5 / 3, abs=1e-4)
    assert float(tuned["paper_mAP"]) == 40.0
    assert tuned["runs"] == "3"


def test_json_has_the_lines_of_the_table():
    runs = averaged(seeds())
    table = lines(runs)
    content = json.loads(json.dumps(as_json(table, runs, level="VeryGood", left_out=["x: y"])))
    assert content["left_out"] == ["x: y"]
    assert content["level"] == "VeryGood"
    assert [row["variant"] for row in content["rows"]] == [line.variant for line in table]
    tuned = next(r for r in content["rows"] if (r["split"], r["variant"]) == ("val", "HL-CLIP-2"))
    assert tuned["mean"]["mAP"] == pytest.approx(122.5 / 3)
    assert tuned["sd"]["mAP"] == pytest.approx(1.04, abs=0.01)
    assert tuned["paper"]["mAP"] == 40.0
    assert content["runs"] == [run.name for run in runs]
    assert content["notes"][0].startswith("±")


def test_the_report_has_the_seeds_of_the_workspaces_run():
    here = replace(seeds()[0], name="workspace")
    runs = [here, *seeds(), *seeds(train__blocks="1"), run("else", 50.0, train__lr="0.1")]
    val, test = seed_tables(runs)
    assert val.caption.startswith("val")
    assert test.caption.startswith("test")
    assert [cell.text for cell in val.rows["HL-CLIP-2"]] == ["40.83 ± 1.04", "70.83 ± 1.04", "3"]
    assert [cell.text for cell in val.rows["zero-shot"]] == ["30.00", "60.00", "1"]
    assert seed_tables([here, run("else", 50.0, train__lr="0.1")]) == []
    assert seed_tables(seeds()) == []
