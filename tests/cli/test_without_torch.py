"""Commands that read finished runs and files work where torch cannot be imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from hlclip.formats import read_index
from tests.runs import OUTPUTS, finished_run

WITHOUT_TORCH = """
import sys
sys.modules.update(torch=None, open_clip=None)  # every import of them now fails
from hlclip.cli import main
main()
"""
DVC_YAML = f"""
stages:
  everything:
    cmd: "true"
    params: [data, frames, encoder, train, pool, moments, evaluate]
    outs: [{", ".join(name for name in OUTPUTS if name != "metrics.json")}]
    metrics: [metrics.json]
"""
PAIR = [f"outputs/predictions/val-{name}.jsonl" for name in ("zero-shot", "HL-CLIP-2")]


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, committed in a repository of git and DVC."""
    folder = tmp_path_factory.mktemp("project")
    finished_run(folder, queries=4)
    rows = read_index(folder / "outputs" / "index.json").queries["val"]
    lines = [row.model_dump_json(exclude_none=True) + "\n" for row in rows]
    (folder / "val.jsonl").write_text("".join(lines))
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "dvc.lock").unlink()  # DVC writes its own
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    run(["git", "init", "-q"], folder)
    run([sys.executable, "-m", "dvc", "init", "-q"], folder)
    run([sys.executable, "-m", "dvc", "commit", "-q", "--force"], folder)
    run(["git", "add", "."], folder)
    run(["git", *author, "commit", "-qm", "run"], folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["evaluate", "outputs/predictions/val-HL-CLIP-2.jsonl", "val.jsonl"], "HL-min-Good-mAP"),
        (["moments", "outputs/predictions/val-HL-CLIP-2.jsonl", "-o", "m.jsonl"], "wrote m.jsonl"),
        (
            [
                "ensemble",
                *(f"outputs/predictions/val-{n}.jsonl" for n in ("zero-shot", "HL-CLIP-2")),
                "-o",
                "e.jsonl",
            ],
            "wrote e.jsonl",
        ),
        (["table"], "HL-CLIP-2 (SP)"),
        (["report", "--thumbnails", "2"], "outputs/report.html: "),
    ],
    ids=lambda argument: argument[0] if isinstance(argument, list) else "",
)
def test_a_finished_run_is_read_without_torch(
    arguments: list[str], expected: str, project: Path
) -> None:
    assert expected in run([sys.executable, "-c", WITHOUT_TORCH, *arguments], project)
