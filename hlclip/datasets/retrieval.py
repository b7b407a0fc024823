"""Data sets for moment retrieval: windows without ratings, in Lighthouse's files."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hlclip.datasets.conversion import (
    LIGHTHOUSE,
    TOLERANCE_SECONDS,
    Conversion,
    Durations,
    PublishedData,
    annotation,
    cut_to_end,
    published_files,
)
from hlclip.formats import AnnotationError, DataSet, Number, Row, read_rows


class _Row(Row):
    query: str
    vid: str
    duration: Annotated[Number, Field(gt=0)]
    relevant_windows: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=1)]


def _convert(
    published: Path, _: Durations, *, files: Mapping[str, str], dataset: DataSet, either: bool
) -> Conversion:
    """Convert the published file of each split; see `PublishedData.convert`.

    Args:
        files: split -> name of its file.
        either: some of the files are enough.
    """
    there = {split: name for split, name in files.items() if (published / name).is_file()}
    names = there if either and there else files
    paths = published_files(published, [*names.values()], dataset)
    conversion = Conversion(paths, {})
    cut = 0
    for split, path in zip(names, paths, strict=True):
        rows = read_rows(path, _Row, error_type=AnnotationError)
        conversion.files[f"{split}.jsonl"] = [
            annotation(
                f"{path}:{line}",
                row.model_dump()
                | {
                    "relevant_windows": [cut_to_end(*w, row.duration) for w in row.relevant_windows]
                },
                dataset=dataset,
            )
            for line, row in rows.items()
        ]
        cut += sum(w[1] > row.duration for row in rows.values() for w in row.relevant_windows)
    if cut:
        conversion.notes.append(
            f"{cut} windows end up to {TOLERANCE_SECONDS:g} s after their video: cut to its end"
        )
    return conversion


def _data_set(
    name: DataSet,
    title: str,
    files: Mapping[str, str],
    folder: str,
    *,
    videos: str,
    terms: str,
    either: bool = False,
) -> PublishedData:
    listed = ", ".join(files.values()) + (" or one of both" if either else "")
    convert = partial(_convert, files=files, dataset=name, either=either)
    return PublishedData(
        name, title, f"{listed} from {LIGHTHOUSE} {folder}", videos, terms, convert
    )


CHARADES_STA = _data_set(
    "charades-sta",
    "Charades-STA",
    {"train": "charades_train_release.jsonl", "test": "charades_test_release.jsonl"},
    "data/charades",
    videos="Charades_v1.zip or Charades_v1_480.zip from https://prior.allenai.org/projects/charades",
    terms="Charades is licensed for non-commercial research (Allen Institute for AI).",
)

TACOS = _data_set(
    "tacos",
    "TACoS",
    {split: f"tacos_{split}_release.jsonl" for split in ("train", "val", "test")},
    "data/tacos",
    videos="MPII Cooking Composite Activities, of the Max Planck Institute for Informatics",
    terms="TACoS and the MPII videos have terms of their own, which their authors state.",
)

# The published val split is what the field reports as its test split. The file of train is large
# and not always kept with the other.
ACTIVITYNET = _data_set(
    "activitynet",
    "ActivityNet Captions",
    {"train": "activitynet_train_release.jsonl", "test": "activitynet_val_release.jsonl"},
    "data/activitynet",
    videos="YouTube, by the ids after `v_`; http://activity-net.org has a form for missing ones",
    terms="The captions have terms of their own; the videos remain their owners'.",
    either=True,
)
