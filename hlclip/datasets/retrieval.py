"""Rows of data sets for moment retrieval: windows without ratings, in Lighthouse's files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hlclip.datasets.conversion import (
    TOLERANCE_SECONDS,
    Conversion,
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


def convert_retrieval(published: Path, names: Mapping[str, str], dataset: DataSet) -> Conversion:
    """Convert the published file of each split; see `PublishedData.convert`.

    Args:
        names: split -> name of its file.
    """
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
