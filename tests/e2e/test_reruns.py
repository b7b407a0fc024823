"""Reruns are cheap and reproducible: real `dvc` runs of the whole pipeline."""

import csv
import io
import json
import shutil
import statistics
from pathlib import Path

import pytest

from hlclip.formats import read_calibration, read_facts
from hlclip.system import sha256_of
from tests.e2e.conftest import CLIPS, Project, add_video, stages_run

pytestmark = pytest.mark.slow

EVERYTHING = ["index", "frames", "activations", "train", "score", "evaluate"]
KINDS = ("frames", "images", "texts")


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return finished.copy(tmp_path / "project")


def test_a_run_makes_everything_that_is_promised(finished: Project):
    metrics = json.loads((finished.root / "outputs/figures.json").read_text())
    assert set(metrics) == {"val", "test"}
    variants = {"zero-shot", "zero-shot (SP)", "HL-CLIP-2", "HL-CLIP-2 (SP)"}
    assert variants <= set(metrics["val"])
    assert set(metrics["val"]["HL-CLIP-2"]) == {"Fair", "Good", "VeryGood", "moments"}
    best = metrics["test"]["HL-CLIP-2 (SP)"]
    headline = json.loads((finished.root / "metrics.json").read_text())
    assert headline["test"] == best["VeryGood"] | {"MR-mAP": best["moments"]["mAP"]}
    assert [len(figures) for figures in headline.values()] == [3, 3]
    videos = sum(map(len, CLIPS.values()))
    assert {kind: len(finished.stored(kind)) for kind in KINDS} == dict.fromkeys(KINDS, videos)
    assert not list(finished.root.rglob("*.tmp"))
    assert finished.run("git", "status", "--porcelain") == ""


def test_the_submission_file_measures_as_figures_json_says(finished: Project, tmp_path: Path):
    out = tmp_path / "out.json"
    metrics = json.loads((finished.root / "outputs/figures.json").read_text())
    for variant, name in {"HL-CLIP-2 (SP)": "HL-CLIP-2-SP", "zero-shot": "zero-shot"}.items():
        finished.run(
            "hlclip",
            "evaluate",
            f"outputs/predictions/val-{name}.jsonl",
            str(finished.data / "annotations" / "val.jsonl"),
            "--json",
            str(out),
        )
        brief = json.loads(out.read_text())["brief"]
        assert brief["HL-min-VeryGood-mAP"] == metrics["val"][variant]["VeryGood"]["mAP"]
        assert brief["HL-min-Fair-Hit1"] == metrics["val"][variant]["Fair"]["HIT@1"]
        moments = metrics["val"][variant]["moments"]
        assert moments == {name: brief[f"MR-full-{name}"] for name in moments}
        assert list(moments) == ["R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP"]


def test_the_calibration_belongs_to_the_checkpoint(finished: Project):
    calibration = read_calibration(finished.root / "outputs/calibration.json")
    checkpoint = finished.root / "outputs/train.safetensors"
    assert calibration.origin.checkpoint == sha256_of(checkpoint)
    assert calibration.origin.weights == read_facts(checkpoint)["weights"]
    assert calibration.missing.startswith("val has ")  # a handful of clips


def test_a_second_run_does_nothing(project: Project):
    assert stages_run(project.run("dvc", "repro")) == []


def test_another_pooling_runs_evaluate_only(project: Project):
    before = project.outputs()
    output = project.run("dvc", "exp", "run", "-S", "pool.mode=gaussian", "-S", "pool.sigma=2")
    assert stages_run(output) == ["evaluate"]
    after = project.outputs()
    changed = {name for name in before if before[name] != after[name]}
    pooled = {n for n in before if n.endswith("-SP.jsonl")}
    of_val = {f"outputs/{n}" for n in ("saliency.csv", "moments.csv", "calibration.json")}
    assert (
        changed
        <= {"metrics.json", "outputs/figures.json", "outputs/reliability.csv"} | of_val | pooled
    )
    assert any(name.endswith("-SP.jsonl") for name in changed)


def test_another_rule_for_moments_runs_evaluate_only(project: Project):
    before = project.outputs()
    output = project.run("dvc", "exp", "run", "-S", "moments.rule=histogram")
    assert stages_run(output) == ["evaluate"]
    after = project.outputs()
    changed = {name for name in before if before[name] != after[name]}
    predictions = {name for name in before if name.endswith(".jsonl")}
    assert changed <= {"metrics.json", "outputs/figures.json"} | predictions
    assert changed & predictions
    for name in predictions:
        rows = [
            [json.loads(line) for line in outputs[name].splitlines()] for outputs in (before, after)
        ]
        for old, new in zip(*rows, strict=True):
            assert new["pred_saliency_scores"] == old["pred_saliency_scores"]
            assert new["pred_relevant_windows"]


def test_a_temporal_head_goes_through_all_stages_to_own_videos(project: Project):
    stored = {kind: project.stored(kind) for kind in KINDS}
    output = project.run("dvc", "exp", "run", "-S", "train.temporal=conv", "-S", "train.blocks=0")
    assert stages_run(output) == ["train", "score", "evaluate"]
    assert stored == {kind: project.stored(kind) for kind in KINDS}
    metrics = json.loads((project.root / "outputs/figures.json").read_text())
    assert "HL-CLIP-0+conv (SP)" in metrics["test"]
    hlclip = ("python", "-m", "hlclip")  # the project's own code
    assert "HL-CLIP-0+conv (SP)" in project.run(*hlclip, "table")
    project.run(*hlclip, "report")
    assert "HL-CLIP-0+conv" in (project.root / "outputs/report.html").read_text()
    predictions = project.root / "outputs/predictions/test-HL-CLIP-0+conv-SP.jsonl"
    expected = json.loads(predictions.read_text())  # of the only row
    video = project.data / "videos" / f"{expected['vid']}.mp4"
    model = f"local-dir:{project.data.parent / 'model'}"
    tuned = ("--checkpoint", "outputs/train.safetensors", "--model", model)
    project.run(*hlclip, "highlight", str(video), expected["query"], *tuned)
    found = json.loads((project.root / "highlights/scores.jsonl").read_text())
    scores = found["pred_saliency_scores"]
    assert scores == pytest.approx(expected["pred_saliency_scores"], abs=1e-5)
    # A video of the data set is not encoded again.
    assert project.stored("images") == stored["images"]


def test_an_added_video_is_the_only_one_decoded_and_encoded(project: Project, tmp_path: Path):
    data = tmp_path / "more data"
    shutil.copytree(project.data, data)
    project.change_params(data__root=str(data))
    assert stages_run(project.run("dvc", "repro")) == ["index"]  # same content elsewhere
    before = {kind: project.stored(kind) for kind in KINDS}
    add_video(data, "train", "late_0.0_8.0", 4, qid=99)
    assert stages_run(project.run("dvc", "repro")) == EVERYTHING
    for kind in KINDS:
        after = project.stored(kind)
        assert before[kind].items() <= after.items()
        assert len(after) == len(before[kind]) + 1


@pytest.fixture(scope="module")
def with_experiments(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Queued and temporary experiments, finished."""
    project = finished.copy(tmp_path_factory.mktemp("experiments") / "project")
    project.run("dvc", "exp", "run", "--temp", "--name", "temporary", "-S", "pool.window=5")
    project.run("dvc", "exp", "run", "--queue", "-S", "train.blocks=1", "-S", "train.seed=1,2")
    project.run("dvc", "exp", "run", "--run-all")
    return project


def test_temporary_and_queued_experiments_reuse_the_store(
    finished: Project, with_experiments: Project
):
    table = json.loads(with_experiments.run("dvc", "exp", "show", "--json"))
    experiments = [e for line in table for e in line.get("experiments") or []]
    assert len(experiments) == 3
    assert all(e["revs"][0]["data"]["metrics"]["metrics.json"]["data"] for e in experiments)
    stored = {kind: finished.stored(kind).keys() for kind in KINDS}
    assert stored == {kind: with_experiments.stored(kind).keys() for kind in KINDS}
    assert not list(with_experiments.root.glob(".dvc/tmp/**/*.h5"))


def test_garbage_is_what_no_experiment_names(with_experiments: Project):
    project = with_experiments
    queued = ("--queue", "-S", "frames.size=32", "-S", "encoder.batch=3")
    project.run("dvc", "exp", "run", *queued)
    before = {kind: project.stored(kind) for kind in KINDS}
    frames = project.root / ".hlclip/store/frames"
    unnamed = frames / "ab" / f"{'ab' * 20}.h5"
    unnamed.parent.mkdir(exist_ok=True)
    shutil.copy(next(frames.glob("*/*.h5")), unnamed)
    gone = json.loads(project.run("hlclip", "store", "gc", "--force", "--json"))["files"]
    assert [each["path"] for each in gone] == [str(unnamed)]
    assert {kind: project.stored(kind) for kind in KINDS} == before
    assert "0 damaged" in project.run("hlclip", "store", "verify")
    project.run("dvc", "exp", "remove", "--queue")


def test_the_table_averages_experiments_over_seeds(with_experiments: Project):
    text = with_experiments.run("hlclip", "table", "--where", "pool.window=3", "--format", "csv")
    lines = {(r["split"], r["variant"]): r for r in csv.DictReader(io.StringIO(text))}
    assert lines["val", "HL-CLIP-1"]["runs"] == "2"
    assert lines["val", "HL-CLIP-2"]["runs"] == "1"  # of the commit
    shown = json.loads(with_experiments.run("dvc", "exp", "show", "--json"))
    figures = [
        revision["data"]["metrics"]["metrics.json"]["data"]["val"]["mAP"]
        for line in shown
        for experiment in line.get("experiments") or []
        for revision in experiment["revs"]
        if revision["data"]["params"]["params.yaml"]["data"]["train"]["blocks"] == 1
    ]
    assert float(lines["val", "HL-CLIP-1 (SP)"]["mAP"]) == pytest.approx(statistics.mean(figures))
    assert float(lines["val", "HL-CLIP-1 (SP)"]["mAP_sd"]) == pytest.approx(
        statistics.stdev(figures)
    )


def test_the_table_leaves_out_what_differs(with_experiments: Project):
    shown = with_experiments.run("hlclip", "table")
    assert "left out: temporary: pool.window = 5, not 3" in shown
    assert "HL-CLIP-1 (SP)" in shown
    compared = with_experiments.run("hlclip", "table", "--by", "pool.window")
    assert "HL-CLIP-2 (SP), pool.window=5" in compared
    assert "Table 1" not in compared


def test_the_table_and_the_report_after_an_experiment_are_about_its_run(project: Project):
    output = project.run("dvc", "exp", "run", "-S", "pool.window=7")
    assert stages_run(output) == ["evaluate"]
    # `make demo`
    assert stages_run(project.run("dvc", "repro")) == []
    assert "pool.window = 3, not 7" in project.run("hlclip", "table")
    project.run("hlclip", "report")
    page = project.root / "outputs" / "report.html"
    assert "mean of 7 clips" in page.read_text()
    # The figures of window 7 next to the parameters of the commit.
    project.run("git", "checkout", "--", "params.yaml", "dvc.lock")
    refused = project.run("hlclip", "report", check=False)
    assert "outputs/figures.json, outputs/predictions: not of the run in dvc.lock" in refused
    assert "`dvc checkout`" in refused
    assert "pool.window = 7, not 3" in project.run("hlclip", "table")
    project.run("dvc", "checkout")
    project.run("hlclip", "report")
    assert "mean of 3 clips" in page.read_text()


def test_the_table_leaves_out_figures_older_than_the_parameters(project: Project):
    project.change_params(train__epochs=7)
    shown = project.run("hlclip", "table")
    assert "left out: workspace: params.yaml has changed" in shown
    assert "HL-CLIP-2" in shown  # as committed
    project.commit()
    refused = project.run("hlclip", "table", check=False)
    assert "no finished run" in refused
    assert refused.count("left out") == 2


def test_two_clean_clones_give_the_same_bytes(
    whole: tuple[Project, dict[str, float]], finished: Project, tmp_path: Path
):
    """One by `dvc repro`, one stage by stage, each from nothing and in a folder of its own."""
    other = whole[0].copy(tmp_path / "a clone elsewhere")
    other.run("dvc", "commit", "--force")
    assert other.outputs() == finished.outputs()
    assert (other.root / "dvc.lock").read_bytes() == (finished.root / "dvc.lock").read_bytes()


def test_a_wrong_parameter_is_named_and_changes_nothing(project: Project):
    for key in ("user.name", "user.email"):
        project.run("git", "config", key, "t")
    before = project.outputs()
    output = project.run("dvc", "exp", "run", "-S", "pool.window=4", check=False)
    assert "pool.window: expected an odd number" in output
    assert "`git checkout -- params.yaml`" in output  # DVC leaves the value in the file
    assert "Traceback" not in output
    assert project.outputs() == before
    project.run("git", "checkout", "--", "params.yaml")
    for wrong, said in (("train.lr=-1", "got -1"), ("evaluate.splits=[dev]", "got 'dev'")):
        output = project.run("dvc", "exp", "run", "-S", wrong, check=False)
        assert said in output
        assert project.outputs() == before
        project.run("git", "checkout", "--", "params.yaml")
    assert stages_run(project.run("dvc", "exp", "run", "-S", "train.lr=0.0003")) == []
    assert project.outputs() == before


def test_damaged_outputs_are_remade(project: Project):
    before = project.outputs()
    for name, content in before.items():
        at = len(content) // 2
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        (project.root / name).write_bytes(damaged)
    project.run("dvc", "repro")
    assert project.outputs() == before


def test_real_footage_runs_unchanged(project: Project, footage_dir: Path):
    output = project.run("dvc", "exp", "run", "-S", f"data.root={footage_dir}")
    assert stages_run(output) == EVERYTHING
    metrics = json.loads((project.root / "outputs/figures.json").read_text())
    assert metrics["val"]["queries"] == 3
    assert metrics["test"]["without video"] == 0
    rows = (project.root / "outputs/predictions/val-HL-CLIP-2.jsonl").read_text().splitlines()
    lengths = {row["vid"]: len(row["pred_saliency_scores"]) for row in map(json.loads, rows)}
    assert lengths == {"tears_of_steel_battle": 35, "big_buck_bunny": 2}
