"""Ten times the videos take no more memory: training and scoring hold two batches a split."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hlclip.formats.annotations import Annotation
from hlclip.formats.manifests import Index, Manifest, Video, VideoInfo
from hlclip.model.encoder import load_encoder
from hlclip.model.tokens import encoder_header, image_header, text_header
from hlclip.params import EncoderParams
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.store.store import Store
from tests.models import save_model, tiny_config
from tests.training.test_train import settings

VIDEOS, CLIPS = 20, 100
VIDEO_BYTES = CLIPS * 17 * 64 * 4
TOLERANCE = 45 * VIDEO_BYTES
"""What manifests, rows and the allocator may add: a quarter of the videos that are more."""
STATUS = Path("/proc/self/status")


def train_and_score(folder: Path, model: str, videos: int) -> tuple[int, int]:
    """Random tokens as if the trunk had made them, through both stages; their peaks in bytes."""
    random = np.random.default_rng(0)
    params = EncoderParams(model=model, pretrained=None, cached_blocks=1, dtype="float32", batch=4)
    header = encoder_header(load_encoder(model, None, cached_blocks=1), None)
    images = Store(folder, "images", image_header(header, params.dtype, 2.0))
    texts = Store(folder, "texts", text_header(header, params.dtype))

    def tokens(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, "float32")

    rows = {split: [row(f"{split}{n}", n) for n in range(videos)] for split in ("train", "val")}
    every = [row for split in rows.values() for row in split]
    index = Index(
        2.0, rows, {r.vid: Video("", "", VideoInfo(2.0 * CLIPS, 1, 1, "")) for r in every}, {}
    )
    # Both splits' rows meet the same bytes, so that they need not be written twice.
    made = {
        n: images.get_or_make(f"{n:040d}", lambda: tokens(CLIPS, 17, 64)) for n in range(videos)
    }
    word = texts.get_or_make("0" * 40, lambda: tokens(5, 32))
    manifests = (
        Manifest(images.header, {r.vid: made[int(r.qid)] for r in every}, {}),
        Manifest(texts.header, {r.query: word for r in every}, {}),
    )
    few = settings(blocks=1, heads="frozen", epochs=1, batch=2)
    checkpoint = folder / "tail.safetensors"
    forget_peak()
    train_tail(
        index,
        *manifests,
        params,
        few,
        store=folder,
        checkpoint=checkpoint,
        history=folder / "history.csv",
    )
    training = peak()
    forget_peak()
    score_splits(index, *manifests, params, few, ["val"], store=folder, checkpoint=checkpoint)
    return training, peak()


def row(vid: str, qid: int) -> Annotation:
    return Annotation.model_validate(
        {
            "qid": qid,
            "vid": vid,
            "query": "a dog",
            "duration": 2 * CLIPS,
            "relevant_clip_ids": [0, 1],
            "saliency_scores": [[4, 4, 4], [0, 1, 2]],
        }
    )


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> int:
    """Bytes. Not getrusage's: on Linux that begins with the memory of whoever started us."""
    fields = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not STATUS.exists(), reason="no /proc: peak memory was not compared")
def test_ten_times_the_videos_take_the_same_memory(tmp_path: Path) -> None:
    """In a process of its own, which holds nothing of other tests; its first run warms it."""
    model = save_model(tmp_path / "model", tiny_config())
    code = (
        "from pathlib import Path\n"
        "from tests.faults.test_memory import train_and_score\n"
        f"for videos in (2, {VIDEOS}, {10 * VIDEOS}):\n"
        f"    folder = Path({str(tmp_path)!r}) / str(videos)\n"
        f"    print(*train_and_score(folder, {model!r}, videos))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    _, few, many = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    for before, after in zip(few, many, strict=True):
        assert after - before < TOLERANCE, done.stdout
