"""TACoS: moment retrieval in long films of cooking."""

from pathlib import Path

from hlclip.datasets.conversion import LIGHTHOUSE, Conversion, Durations, PublishedData
from hlclip.datasets.retrieval import convert_retrieval

FILES = {split: f"tacos_{split}_release.jsonl" for split in ("train", "val", "test")}


def _convert(published: Path, _: Durations) -> Conversion:
    return convert_retrieval(published, FILES, "tacos")


TACOS = PublishedData(
    name="tacos",
    title="TACoS",
    annotations=f"{', '.join(FILES.values())} from {LIGHTHOUSE} data/tacos",
    videos="MPII Cooking Composite Activities, of the Max Planck Institute for Informatics",
    terms="TACoS and the MPII videos have terms of their own, which their authors state.",
    convert=_convert,
)
