"""evaluate on other data sets: their own metrics and names, reference rows, one set at a time."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlclip.evaluation import BENCHMARKS, Setting, find_clips, ground_truth, headline, pool, report
from hlclip.formats import (
    Annotation,
    SplitScores,
    pack,
    read_answers,
    read_scores,
    read_submission,
    write_scores,
)
from hlclip.params import MomentsParams, PoolParams
from hlclip.pipeline.choices import WINDOWS, EvaluateError
from hlclip.pipeline.evaluate import evaluate_splits
from tests.runs import ORIGIN

POOL = PoolParams(window=3, mode="mean", border="neighbours", sigma=1)
BEST = PoolParams(window="best", mode="mean", border="neighbours", sigma=1)
MOMENTS = MomentsParams(rule="consensus", focus=2)
SETTING = Setting("consensus", 2.0)


def video(qid: int, dataset: str, **keys: Any) -> Annotation:
    """A video of 12 clips: TVSum's with 20 annotators, others' overlapping, or with a moment."""
    random = np.random.default_rng(qid)
    facts = {"qid": qid, "query": f"query {qid}", "vid": f"v{qid}", "dataset": dataset}
    rated: dict[str, Any] = {"relevant_clip_ids": list(range(12)), "duration": 24.0}
    if dataset == "tvsum":
        rated |= {"rating_scale": [1, 5], "domain": ["BK", "BT"][qid % 2]}
        rated["saliency_scores"] = random.integers(1, 6, (12, 20)).tolist()
    elif dataset == "youtube-highlights":
        rated |= {"rating_scale": [-1, 1], "domain": "dog", "duration": 21.5}
        rated["clips"] = [[1.5 * clip, 1.5 * clip + 3.5] for clip in range(12)]
        rated["saliency_scores"] = random.integers(-1, 2, (12, 1)).tolist()
    else:
        start = 1.2 * qid
        rated = {"relevant_windows": [[start, start + 4 * qid]], "duration": 25.3}
    return Annotation.model_validate(facts | rated | keys)


def scored(rows: list[Annotation], seed: int = 0) -> SplitScores:
    """Random cosines; the last video is missing."""
    random = np.random.default_rng(seed)
    lines: dict[int | str, Any] = {
        row.qid: random.normal(size=row.clips).astype(np.float32) for row in rows[:-1]
    }
    return pack(rows, {"zero-shot": lines, "HL-CLIP-1": {q: -line for q, line in lines.items()}})


def run(
    folder: Path,
    splits: dict[str, SplitScores],
    pool: PoolParams = POOL,
    moments: MomentsParams = MOMENTS,
) -> dict[str, Any]:
    write_scores(folder / "score.safetensors", splits)
    evaluate_splits(
        read_scores(folder / "score.safetensors"),
        pool,
        moments,
        metrics=folder / "metrics.json",
        outputs=folder,
        origin=ORIGIN,
    )
    return json.loads((folder / "figures.json").read_text())


@pytest.mark.parametrize("dataset", ["tvsum", "youtube-highlights", "charades-sta"])
def test_metrics_are_those_of_the_submission_files(tmp_path: Path, dataset: str):
    scores = scored([video(qid, dataset) for qid in range(1, 5)])
    written = run(tmp_path, {"val": scores})["val"]
    assert (written["queries"], written["without video"]) == (4, 1)
    assert written["data set"] == dataset
    benchmark = BENCHMARKS[dataset]
    main = written["HL-CLIP-1 (SP)"][benchmark.group][benchmark.metric]
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"val": {benchmark.metric: main}}
    for variant, name in (("zero-shot", "zero-shot"), ("HL-CLIP-1 (SP)", "HL-CLIP-1-SP")):
        rows = read_answers(tmp_path / "predictions" / f"val-{name}.jsonl", scores.rows)
        figures = report(
            scores.rows,
            scores=[r.pred_saliency_scores or () for r in rows],
            windows=[r.pred_relevant_windows or () for r in rows],
        )
        if dataset == "charades-sta":
            full, brief = written[variant]["moments"], figures["brief"]
            assert {f"MR-full-{metric}": value for metric, value in full.items()} == {
                metric: value for metric, value in brief.items() if metric.startswith("MR-full")
            }
            lengths = {group: written[variant][group]["mAP"] for group in ("short", "middle")}
            assert lengths == {group: brief[f"MR-{group}-mAP"] for group in lengths}
            assert set(written[variant]) == {"moments", "short", "middle"}
        else:
            metric = "top-5 mAP" if dataset == "tvsum" else "mAP"
            domains = ["BK", "BT"] if dataset == "tvsum" else ["dog"]
            assert list(written[variant]) == ["all domains", *domains]
            assert figures["brief"][metric] == written[variant]["all domains"][metric]
            assert written[variant] == {g: figures[g] for g in written[variant]}
        assert figures["references"] == written["references"]
        assert "VeryGood" not in json.dumps(written)
        assert "HIT@1" not in json.dumps(written)


@pytest.mark.parametrize("dataset", ["tvsum", "charades-sta"])
def test_the_best_window_has_the_highest_headline_figure(tmp_path: Path, dataset: str):
    rows = [video(qid, dataset) for qid in range(1, 5)]
    scores = scored(rows)
    chosen = run(tmp_path, {"val": scores, "test": scored(rows, 1)}, BEST)["window"]
    lines = list(csv.DictReader((tmp_path / "window.csv").open()))
    lines = [line for line in lines if line["mode"] == "mean"]
    assert len(lines) == 2 * len(WINDOWS)
    assert {line["HIT@1"] for line in lines} == {""}
    truth = ground_truth(rows)
    for variant, window in chosen.items():
        figures = {int(x["window"]): float(x["mAP"]) for x in lines if x["variant"] == variant}
        assert window == max(figures, key=lambda each: figures[each])
        pooled = np.zeros((4, 12), np.float32)
        for query in range(3):
            pooled[query] = pool(scores.cosines[variant][query], window)
        assert headline(rows, truth, pooled, SETTING) == (figures[window], None)


def test_rules_for_moments_are_compared_by_the_data_sets_metrics(tmp_path: Path):
    rows = [video(qid, "charades-sta") for qid in range(1, 5)]
    best = MomentsParams(rule="best", focus=2)
    run(tmp_path, {"val": scored(rows)}, moments=best)
    lines = list(csv.DictReader((tmp_path / "moments.csv").open()))
    assert list(lines[0]) == [
        *("split", "variant", "rule", "R1@0.3", "R1@0.5", "R1@0.7", "mIoU"),
        *("mAP@0.5", "mAP@0.75", "mAP"),
    ]
    with pytest.raises(EvaluateError, match="not all queries of val have relevant_windows"):
        run(tmp_path, {"val": scored([video(1, "tvsum"), video(2, "tvsum")])}, moments=best)


def test_moments_have_the_times_of_the_clips(tmp_path: Path):
    rows = [video(qid, "youtube-highlights") for qid in (1, 2)]
    scores = scored(rows)
    run(tmp_path, {"val": scores})
    found = read_submission(tmp_path / "predictions" / "val-zero-shot.jsonl")[0]
    clips, _ = find_clips(scores.cosines["zero-shot"][0])[0]
    assert found.pred_relevant_windows is not None
    assert found.pred_relevant_windows[0][:2] == (1.5 * clips.start, 1.5 * (clips.stop - 1) + 3.5)


def test_examples_have_the_scale_and_times_of_the_rows(tmp_path: Path):
    row = video(1, "youtube-highlights", saliency_scores=[[-1], [0], *[[1]] * 10])
    run(tmp_path, {"val": scored([row, video(2, "youtube-highlights")])})
    lines = list(csv.DictReader((tmp_path / "saliency.csv").open()))
    rated = [line for line in lines if line["series"].startswith("annotator")]
    assert {line["series"] for line in rated} == {"annotator 1"}
    assert [float(line["saliency"]) for line in rated[:3]] == [0, 0.5, 1]
    assert [float(line["seconds"]) for line in rated[:3]] == [1.75, 3.25, 4.75]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "youtube-highlights"}, "val: tvsum, no protocol; test: youtube-highlights"),
        ({"dataset": "tvsum", "protocol": "zero-shot"}, "test: tvsum, zero-shot"),
    ],
)
def test_splits_of_several_data_sets_are_refused(tmp_path: Path, keys: Any, message: str):
    val = [video(qid, "tvsum") for qid in (1, 2)]
    test = [video(qid, **keys) for qid in (3, 4)]
    with pytest.raises(EvaluateError, match=message):
        run(tmp_path, {"val": scored(val), "test": scored(test)})


def test_rows_without_a_domain_have_no_mean_over_domains():
    with pytest.raises(ValueError, match="means over domains, but have no domain"):
        ground_truth([video(1, "tvsum", domain=None)])


def test_the_log_has_the_reference_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level("INFO")
    written = run(tmp_path, {"test": scored([video(qid, "tvsum") for qid in (1, 2, 3)])})
    title, *lines = caplog.messages[-1].splitlines()
    assert title.split() == ["TVSum,", "in", "percent", "test", "top-5", "mAP"]
    assert [line[:24].strip() for line in lines] == [
        *("zero-shot", "zero-shot (SP)", "HL-CLIP-1", "HL-CLIP-1 (SP)"),
        *("random", "annotators' mean"),
    ]
    figure = written["test"]["references"]["random"]["all domains"]["top-5 mAP"]
    assert lines[-2].split()[-1] == f"{figure:.2f}"
