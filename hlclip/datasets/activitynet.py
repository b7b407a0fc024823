"""ActivityNet Captions: moment retrieval in videos of human activities."""

from pathlib import Path

from hlclip.datasets.conversion import LIGHTHOUSE, Conversion, Durations, PublishedData
from hlclip.datasets.retrieval import convert_retrieval

FILES = {"train": "activitynet_train_release.jsonl", "test": "activitynet_val_release.jsonl"}
"""The published val split is what the field reports as its test split."""


def _convert(published: Path, _: Durations) -> Conversion:
    # The file of train is large and not always kept with the other.
    names = {split: name for split, name in FILES.items() if (published / name).is_file()}
    return convert_retrieval(published, names or FILES, "activitynet")


ACTIVITYNET = PublishedData(
    name="activitynet",
    title="ActivityNet Captions",
    annotations=f"{', '.join(FILES.values())} or one of both from {LIGHTHOUSE} data/activitynet",
    videos="YouTube, by the ids after `v_`; http://activity-net.org has a form for missing ones",
    terms="The captions have terms of their own; the videos remain their owners'.",
    convert=_convert,
)
