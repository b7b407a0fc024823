"""Charades-STA: moment retrieval in short films of everyday tasks at home."""

from pathlib import Path

from hlclip.datasets.conversion import LIGHTHOUSE, Conversion, Durations, PublishedData
from hlclip.datasets.retrieval import convert_retrieval

FILES = {"train": "charades_train_release.jsonl", "test": "charades_test_release.jsonl"}


def _convert(published: Path, _: Durations) -> Conversion:
    return convert_retrieval(published, FILES, "charades-sta")


CHARADES_STA = PublishedData(
    name="charades-sta",
    title="Charades-STA",
    annotations=f"{', '.join(FILES.values())} from {LIGHTHOUSE} data/charades",
    videos="Charades_v1.zip or Charades_v1_480.zip from https://prior.allenai.org/projects/charades",
    terms="Charades is licensed for non-commercial research (Allen Institute for AI).",
    convert=_convert,
)
