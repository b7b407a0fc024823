"""Tables of other data sets: columns, means over domains, reference rows, what is never mixed."""

import csv
import io
import statistics
from dataclasses import replace

import pytest

from hlclip.results.experiments import Experiment
from hlclip.results.table import comparable, lines
from hlclip.results.table_text import as_json, render

METRIC = "top-5 mAP"


def run(
    figure: float,
    *domains: str,
    protocol: str = "leave-one-out",
    dataset: str = "tvsum",
    seed: int = 0,
    select: str = "last",
    split: str = "test",
) -> Experiment:
    """A run that measures these domains, each a point above the one before; zero-shot has half."""
    metric = METRIC if dataset == "tvsum" else "mAP"

    def groups(base: float) -> dict[str, dict[str, float]]:
        each = {name: base + n for n, name in enumerate(domains)}
        return {
            name: {metric: value}
            for name, value in {"all domains": statistics.fmean(each.values()), **each}.items()
        }

    random = {name: values | {f"{metric} sd": 3.0} for name, values in groups(40).items()}
    return Experiment(
        name=f"{'-'.join(domains)}-{seed}",
        data=f"{'-'.join(domains)}",
        params={"train.blocks": "1", "train.seed": str(seed), "train.select": select},
        code={},
        figures={split: {"zero-shot": groups(figure / 2), "HL-CLIP-1": groups(figure)}},
        queries={split: 5},
        without_video={split: 0},
        dataset=dataset,
        protocol=protocol,
        references={split: {"random": random, "annotators' mean": groups(84)}},
    )


def text_of(runs: list[Experiment]) -> str:
    return render(lines(runs), runs, style="terminal", level="VeryGood")


def test_held_out_domains_are_averaged_before_seeds():
    runs = [
        run(figure + seed, domain, seed=seed)
        for domain, figure in (("BK", 50.0), ("BT", 60.0), ("DS", 73.0))
        for seed in (0, 2)
    ]
    shown, left_out = comparable(runs)
    assert (shown, left_out) == (runs, [])
    table = {line.variant: line for line in lines(shown)}
    assert list(table) == ["zero-shot", "HL-CLIP-1", "random", "annotators' mean"]
    tuned = table["HL-CLIP-1"]
    assert tuned.runs == 2
    assert tuned.mean == pytest.approx({METRIC: 62, "BK": 51, "BT": 61, "DS": 74})
    assert tuned.sd is not None
    assert tuned.sd[METRIC] == pytest.approx(statistics.stdev([61, 63]))
    assert table["zero-shot"].mean[METRIC] == pytest.approx(30.5)
    assert table["zero-shot"].sd is None
    random = table["random"]
    assert random.sd is not None
    assert random.sd[METRIC] == pytest.approx(3 / 3**0.5)  # of a mean of three
    assert random.sd["BK"] == 3
    assert table["annotators' mean"].mean[METRIC] == 84
    text = text_of(shown)
    assert "TVSum, leave-one-out, test, in percent" in text
    assert "of 3 of 10 domains (BK, BT, DS), not of the whole data set" in text


def test_all_domains_of_the_data_set_need_no_note():
    names = ("dog", "gymnastics", "parkour", "skating", "skiing", "surfing")
    runs = [run(50.0, *names, dataset="youtube-highlights", protocol="zero-shot")]
    text = text_of(comparable(runs)[0])
    assert "YouTube Highlights, zero-shot, test" in text
    assert "not of the whole data set" not in text
    assert "paper:" not in text
    assert "highlights rated" not in text


def test_a_seed_that_lacks_domains_is_left_out_and_named():
    runs = [run(50.0, "BK"), run(60.0, "BT"), run(90.0, "BK", seed=1)]
    shown, _ = comparable(runs)
    tuned = next(line for line in lines(shown) if line.variant == "HL-CLIP-1")
    assert (tuned.runs, tuned.mean[METRIC]) == (1, 55)
    assert "Left out of the means: BK-1, on 1 of 2 domains." in text_of(shown)


def test_without_a_whole_seed_only_zero_shot_has_figures():
    shown, _ = comparable([run(50.0, "BK"), run(60.0, "BT", seed=1)])
    assert [line.variant for line in lines(shown) if line.runs] == ["zero-shot"]


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (
            run(70.0, "BT", protocol="per-domain"),
            "data = tvsum per-domain, not tvsum leave-one-out",
        ),
        (
            run(70.0, "BT", protocol="zero-shot"),
            "data = tvsum zero-shot BT, not tvsum leave-one-out",
        ),
        (
            run(70.0, "dog", dataset="youtube-highlights"),
            "data = youtube-highlights leave-one-out, not tvsum leave-one-out",
        ),
    ],
)
def test_data_sets_and_protocols_are_never_mixed(other: Experiment, difference: str):
    shown, left_out = comparable([run(50.0, "BK"), other])
    assert len(shown) == 1
    assert len(left_out) == 1
    assert difference in left_out[0]


def test_qvhighlights_is_not_mixed_with_another_data_set():
    levels = {"VeryGood": {"mAP": 40.0, "HIT@1": 60.0}}
    qvhighlights = replace(
        run(50.0, "BK"),
        data="0123456789abcdef0123456789abcdef",
        dataset="qvhighlights",
        protocol="",
        figures={"val": {"zero-shot": levels}},
        references={},
    )
    _, left_out = comparable([run(50.0, "BK"), qvhighlights])
    assert "data = 0123456, not tvsum leave-one-out" in left_out[0]


def test_the_domain_of_two_copies_of_the_data_is_not_counted_twice():
    other = replace(run(90.0, "BK"), data="other", name="again")
    shown, left_out = comparable([run(50.0, "BK"), run(60.0, "BT"), other])
    assert len(shown) == 2
    assert left_out == [
        "again: the parameters of BK-0 and other figures, with the same code on other data"
    ]


def test_an_epoch_that_was_chosen_on_what_is_reported_is_named():
    chosen = run(90.0, "BK", protocol="per-domain", select="best", split="val")
    assert "the epoch was chosen on the videos of val" in text_of([chosen])
    last = run(90.0, "BK", protocol="per-domain", select="last", split="val")
    assert "the epoch was chosen" not in text_of([last])


def test_other_formats_have_no_levels():
    runs = [run(50.0, "BK", "BT", protocol="zero-shot")]
    table = lines(runs)
    row = next(csv.DictReader(io.StringIO(render(table, runs, style="csv", level="VeryGood"))))
    assert row["level"] == ""
    assert (row[METRIC], row["BK"], row["BT"]) == ("25.5000", "25.0000", "26.0000")
    content = as_json(table, runs, level="VeryGood")
    assert (content["data set"], content["protocol"]) == ("tvsum", "zero-shot")
    assert "level" not in content
