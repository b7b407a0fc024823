"""hlclip from its wheel, in a folder that has no clone around it: each command works or teaches."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from hlclip.model import build_tail, load_encoder, save_tail
from tests.e2e.conftest import ROOT
from tests.films import film

pytestmark = pytest.mark.slow

FACTS = {"qid": 1, "query": "a red ball", "vid": "v"}
TRUTH = {
    **FACTS,
    "duration": 8,
    "relevant_clip_ids": [1],
    "saliency_scores": [[4, 4, 3]],
    "relevant_windows": [[2, 4]],
}


@dataclass
class Installed:
    """A user with an installed hlclip, in an empty folder."""

    here: Path
    home: Path
    bin: Path
    checkpoint: Path
    """Of a run in a clone elsewhere, which has its model."""

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.home),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "GIT_CEILING_DIRECTORIES": str(self.here.parent),
        }
        done = subprocess.run(
            command, cwd=self.here, env=environment, text=True, capture_output=True, check=False
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    # A build may leave files next to its sources.
    left_out = (".git", ".venv*", ".hlclip", "outputs", "tests", "sample", "data", "__pycache__")
    shutil.copytree(ROOT, root / "source", ignore=shutil.ignore_patterns(*left_out))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", root, root / "source"], check=True
    )
    shutil.rmtree(root / "source")
    venv = root / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (wheel,) = root.glob("hlclip-*.whl")
    subprocess.run([*pip, "--python", venv / "bin/python", "install", *offline, wheel], check=True)
    # All other packages are those of the tests; a clone that is installed there is not on the path.
    (packages,) = venv.glob("lib/python*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    for name in ("here", "home", "run/outputs"):
        (root / name).mkdir(parents=True)
    film(root / "here" / "v.mp4", seconds=8)
    return Installed(root / "here", root / "home", venv / "bin", run_elsewhere(root / "run"))


def run_elsewhere(clone: Path) -> Path:
    """The checkpoint of a run on the sample, whose model is named relative to the clone."""
    shutil.copytree(ROOT / "sample" / "model", clone / "sample" / "model")
    encoder = load_encoder(f"local-dir:{clone}/sample/model", None, cached_blocks=2)
    facts = {
        "model": "local-dir:sample/model",
        "pretrained": "none",
        "weights": encoder.fingerprint(),
        "cached_blocks": 2,
        "dtype": "float16",
        "clip_seconds": 2.0,
        "train": {"blocks": 2, "temporal": "none"},
    }
    checkpoint = clone / "outputs" / "train.safetensors"
    save_tail(checkpoint, build_tail(encoder).train_only(2, "all").trained(), facts)
    return checkpoint


def test_it_is_the_wheel_that_is_imported(installed: Installed) -> None:
    done = installed.run("python", "-c", "import hlclip; print(hlclip.__file__)")
    assert Path(done.stdout).is_relative_to(installed.bin.parent)


def test_a_checkpoint_from_elsewhere_scores_a_video(installed: Installed) -> None:
    arguments = ["v.mp4", "a red ball", "--checkpoint", str(installed.checkpoint)]
    done = installed.run("hlclip", "highlight", *arguments)
    assert done.returncode == 0, done.stderr
    assert "wrote highlights/scores.jsonl" in done.stdout
    assert sorted(path.name for path in installed.here.iterdir()) == ["highlights", "v.mp4"]
    store = installed.home / ".cache" / "hlclip" / "store"
    assert len(list(store.glob("images/*/*.h5"))) == 1
    status = installed.run("hlclip", "store", "status")
    assert status.returncode == 0, status.stderr
    assert status.stdout.startswith(f"{store} (your own")
    assert "at most 20.0 GB" in status.stdout
    shutil.rmtree(installed.here / "highlights")


@pytest.mark.parametrize(
    ("command", "status", "says"),
    [
        ("highlight v.mp4 x", 2, "--model ViT-B-32-quickgelu --pretrained openai"),
        ("highlight v.mp4 x --model ViT-B-32-quickgelu --pretrained openai", 2, "--pretrained /"),
        ("demo", 2, "--checkpoint FILE"),
        ("demo --help", 0, "Serve a web page"),
        ("evaluate predicted.jsonl truth.jsonl", 0, "HL-min-VeryGood-mAP"),
        ("moments predicted.jsonl -o out.jsonl", 0, "windows of 1 queries"),
        ("models ViT-B-32-quickgelu", 0, "1 can be used"),
        ("data qvhighlights data --check", 1, "hlclip init FOLDER --preset qvhighlights --data "),
        ("doctor", 0, "Ready for your own videos"),
        ("store status", 0, "your own"),
        ("store verify", 0, "files are whole"),
        ("store gc", 0, "would be removed"),
        ("store export kept", 2, "--all copies all items"),
        ("encode", 2, "hlclip init FOLDER"),
        ("table", 2, "hlclip init FOLDER"),
        ("report", 2, "name the folder of a finished run"),
    ],
)
def test_each_command_works_or_says_what_to_do(
    command: str, status: int, says: str, installed: Installed
) -> None:
    rows = {"truth": TRUTH, "predicted": {**FACTS, "pred_saliency_scores": [0.1, 0.4, 0.2, 0.1]}}
    for name, row in rows.items():
        (installed.here / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    before = set(installed.here.iterdir())
    done = installed.run("hlclip", *command.split())
    assert done.returncode == status, done.stdout + done.stderr
    assert says in (done.stderr if status == 2 else done.stdout)
    for missing in ("presets/", "clone", " make "):
        assert missing not in done.stderr
        assert status != 1 or missing not in done.stdout
    assert set(installed.here.iterdir()) - before <= {installed.here / "out.jsonl"}
