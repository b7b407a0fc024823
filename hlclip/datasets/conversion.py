"""From the published files of a data set to its annotation files, one for each split and protocol.

<root>/published/      the user's copy of the published files
<root>/annotations/    the annotation files that are made from them
<root>/videos/<vid>.*  the user's videos
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hlclip.datasets.archive import videos_in
from hlclip.formats import Annotation, AnnotationError, DataSet, Protocol, problems_of, shown
from hlclip.system import HlclipError, write_whole

TOLERANCE_SECONDS = 1.0
"""A clip or window may end this much after its video, by rounding; it is cut to the video's end."""

LIGHTHOUSE = "https://github.com/line/lighthouse, folder"
"""Most papers of the field convert the annotations as this library (Apache-2.0) does."""


@dataclass
class Conversion:
    """The annotation files that are made from the published ones."""

    read: list[Path]
    """Published files, or the folder that holds them."""
    files: dict[str, list[Annotation]]
    """Path in `annotations/` -> rows."""
    notes: list[str] = field(default_factory=list)
    """What is not as published, in words."""

    @property
    def vids(self) -> set[str]:
        return {row.vid for rows in self.files.values() for row in rows}


Durations = Callable[[str], float]
"""vid -> seconds of the user's video, for files that do not say it; raises HlclipError."""


@dataclass(frozen=True)
class PublishedData:
    """A public data set that hlclip converts and does not download."""

    name: DataSet
    title: str
    annotations: str
    """Where the annotations are published, and their files."""
    videos: str
    """Where the videos are from."""
    terms: str
    convert: Callable[[Path, Durations], Conversion]
    """From the folder `published`; raises AnnotationError for malformed files."""


def annotation(place: str, row: Mapping[str, Any], *, dataset: DataSet) -> Annotation:
    """The annotation row of a published one.

    Args:
        place: file and line, for the message.

    Raises:
        AnnotationError: the row is malformed.
    """
    try:
        return Annotation.model_validate({**row, "dataset": dataset})
    except ValidationError as failure:
        problems = [f"{place}: {problem}" for problem in problems_of(failure)]
        raise AnnotationError("\n".join(problems)) from failure


def cut_to_end(start: float, end: float, duration: float) -> list[float]:
    """[start, end] rounded to microseconds; see `TOLERANCE_SECONDS`."""
    within = end <= duration + TOLERANCE_SECONDS
    return [round(start, 6), min(round(end, 6), duration) if within else end]


def divide(
    published: Path, splits: Mapping[str, Sequence[Annotation]]
) -> dict[str, list[Annotation]]:
    """The annotation files of a data set with domains, for each protocol.

    `zero-shot/test`: all rows. `leave-one-out/<domain>/`: test is all rows of the domain, train and
    val are the published splits of the others. `per-domain/<domain>/`: the published splits of the
    domain. Where no splits are published, val is the last row of each domain, and the field's
    per-domain split is unknown.

    Args:
        published: the folder that they are from, for messages.
        splits: `train` and `val`, or `all` where the published files have no splits.

    Raises:
        AnnotationError: there is no video, one comes twice or has another number of annotators than
            the others, or a domain is no name of a folder.
    """
    rows = [row for part in splits.values() for row in part]
    if not rows:
        raise AnnotationError(f"{published}: got no video, expected some")
    twice = [vid for vid, times in Counter(row.vid for row in rows).items() if times > 1]
    if twice:
        raise AnnotationError(
            f"{published}: got {shown(twice)} more than once, expected one row for each video"
        )
    (usual, _), *others = Counter(row.annotators for row in rows).most_common()
    if others:
        vids = [row.vid for row in rows if row.annotators == others[0][0]]
        raise AnnotationError(
            f"{published}: got ratings of {others[0][0]} annotators for {shown(vids)}, expected "
            f"{usual} as for other videos"
        )
    domains = sorted({str(row.domain) for row in rows})
    for domain in domains:
        if domain != Path(domain).name or domain == "..":
            raise AnnotationError(
                f"{published}: got the domain {domain!r}, expected a name without /"
            )
    if "all" in splits:
        last = {row.domain: row for row in rows}
        val = [*last.values()]
        train = [row for row in rows if row is not last[row.domain]]
    else:
        train, val = [*splits["train"]], [*splits["val"]]
    files = {"zero-shot/test": _of("zero-shot", rows)}
    for domain in domains:
        for split, part in (("train", train), ("val", val), ("test", rows)):
            inside = [row for row in part if row.domain == domain]
            outside = [row for row in part if row.domain != domain]
            held_out = inside if split == "test" else outside
            files[f"leave-one-out/{domain}/{split}"] = _of("leave-one-out", held_out)
            if split in splits:
                files[f"per-domain/{domain}/{split}"] = _of("per-domain", inside)
    return {f"{name}.jsonl": part for name, part in files.items() if part}


def _of(protocol: Protocol, rows: Sequence[Annotation]) -> list[Annotation]:
    return [row.model_copy(update={"protocol": protocol}) for row in rows]


@dataclass(frozen=True)
class ConversionStatus:
    """The files of a converted data set that exist in a folder."""

    annotations: dict[str, str]
    """Path in `annotations/` -> `as converted`, `missing` or `different`."""
    missing: list[str]
    """Vids without a file, sorted."""

    @property
    def whole(self) -> bool:
        return not self.missing and set(self.annotations.values()) <= {"as converted"}


def conversion_status(root: Path, conversion: Conversion) -> ConversionStatus:
    """Compare `root`/annotations and `root`/videos with a conversion; changes nothing."""
    annotations: dict[str, str] = {}
    for name, rows in conversion.files.items():
        path = root / "annotations" / name
        same = path.is_file() and path.read_bytes() == _as_bytes(rows)
        annotations[name] = "as converted" if same else "different" if path.exists() else "missing"
    videos = videos_in(root / "videos", conversion.vids)
    return ConversionStatus(annotations, sorted(conversion.vids - videos.keys()))


def write_conversion(root: Path, conversion: Conversion) -> None:
    """Write the annotation files to `root`/annotations; the same rows give the same bytes."""
    for name, rows in conversion.files.items():
        write_rows(root / "annotations" / name, rows)


def write_rows(path: Path, rows: Sequence[Annotation]) -> None:
    """Write an annotation file, whole or not at all; the same rows give the same bytes."""
    write_whole(path, _as_bytes(rows))


def _as_bytes(rows: Sequence[Annotation]) -> bytes:
    lines = (row.model_dump(mode="json", exclude_none=True) for row in rows)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def published_files(published: Path, names: Sequence[str], benchmark: str) -> list[Path]:
    """The paths of published files.

    Raises:
        HlclipError: one of them is missing.
    """
    paths = [published / name for name in names]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise HlclipError(
            f"{published}: no {', '.join(missing)}",
            f"put the published files there: `hlclip data {benchmark} --help` says where they are",
        )
    return paths
