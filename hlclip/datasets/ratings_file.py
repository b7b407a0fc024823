"""Ratings of clips as CSV: a line for each rating.

    video,query,clip,annotator,rating
    holiday,a dog on the beach,3,Ann,4

Instead of `clip`, a range of seconds may be given, as `start` and `end`. A line without clip,
annotator and rating names a query that nobody has rated yet.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hlclip.datasets.ratings import Query, Ratings
from hlclip.formats import CLIP_SECONDS, MAX_RATING, AnnotationError, problem_list, shown
from hlclip.system import naming, write_whole

COLUMNS = ("video", "query", "clip", "annotator", "rating")

_FORMULA = re.compile(r"'*\s*[=+\-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}]")
"""A spreadsheet takes such text for a formula. It gets an apostrophe, which a reader removes."""


def write_ratings(path: Path, ratings: Ratings) -> None:
    """Write ratings as CSV, whole or not at all."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for query, given in ratings.given.items():
        asked = [*map(_inert, query)]
        if not given:
            writer.writerow([*asked, "", "", ""])
        for name, rated in given.items():
            writer.writerows([*asked, clip, _inert(name), n] for clip, n in sorted(rated.items()))
    write_whole(path, text.getvalue().encode())


def read_ratings(
    path: Path, durations: Mapping[str, float], *, clip_seconds: float = CLIP_SECONDS
) -> Ratings:
    """Read ratings from CSV; columns may be in any order, and others are ignored.

    A range of seconds rates each clip whose middle it holds. Commas, semicolons or tabs separate.

    Args:
        durations: vid -> seconds of each video that may be named, with or without suffix.

    Raises:
        AnnotationError: all problems are listed by line: a column is missing, a video has no file,
            a clip or range lies outside of its video, a rating is not 0 to 4, or an annotator rated
            a clip twice.
        OSError: the file cannot be read.
    """
    ratings = Ratings()
    problems: list[str] = []
    for line, cells in _lines(path):
        try:
            query, name, clips, rating = _rating(cells, durations, clip_seconds)
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
            continue
        ratings.given.setdefault(query, {})
        for clip in clips:
            before = ratings.lines.setdefault((query, name, clip), line)
            if before != line:
                problems.append(
                    f"{path}:{line}: got a second rating of clip {clip} by {name}, expected one; "
                    f"the first is on line {before}"
                )
            ratings.give(query, name, clip, rating)
    if not ratings.given and not problems:
        problems.append(f"{path}: got no rating, expected a line for each")
    if problems:
        raise AnnotationError(problem_list(problems))
    return ratings


def named_videos(path: Path) -> set[str]:
    """The videos that a CSV file of ratings names, as they stand there."""
    return {cells["video"] for _, cells in _lines(path)}


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of each line but blank ones; column -> text."""
    with naming(path):
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise AnnotationError(
            f"{path}:{line}: got bytes that are not UTF-8, expected CSV in UTF-8",
            "save it as CSV UTF-8",
        ) from error
    header = text.partition("\n")[0]
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count), strict=True
    )
    try:
        columns = [name.strip().lower() for name in next(reader, [])]
        needed = {*COLUMNS} - ({"clip"} if {"start", "end"} <= {*columns} else set())
        if missing := [name for name in COLUMNS if name in needed - {*columns}]:
            raise AnnotationError(
                f"{path}:1: no column {' and '.join(missing)}; got {shown(header.strip())}, "
                f"expected {','.join(COLUMNS)}, or start,end instead of clip"
            )
        if twice := [name for name in COLUMNS if columns.count(name) > 1]:
            raise AnnotationError(f"{path}:1: got two columns {twice[0]}, expected one")
        line = reader.line_num + 1
        for cells in reader:
            blank = not any(cell.strip() for cell in cells)
            if not blank and len(cells) != len(columns):
                raise AnnotationError(
                    f"{path}:{line}: got {len(cells)} cells, expected {len(columns)} as in the "
                    "first line",
                    "put text that holds the separator in quotes",
                )
            if not blank:
                yield line, dict(zip(columns, (_text(cell.strip()) for cell in cells), strict=True))
            line = reader.line_num + 1
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: is no CSV ({error})") from error


def _rating(
    cells: Mapping[str, str], durations: Mapping[str, float], clip_seconds: float
) -> tuple[Query, str, Sequence[int], int]:
    """Query, annotator, clips and rating of a line; ValueError says what is wrong with it."""
    video, text, name, rating = (cells[key] for key in ("video", "query", "annotator", "rating"))
    vid = video if video in durations else Path(video).stem
    if vid not in durations:
        raise ValueError(f"video: got {shown(video)}, expected the name of a video in the folder")
    if not text:
        raise ValueError("query: got nothing, expected some text")
    clip, start, end = (cells.get(key, "") for key in ("clip", "start", "end"))
    if not any((name, rating, clip, start, end)):
        return (vid, text), "", (), 0
    if not name:
        raise ValueError("annotator: got nothing, expected a name")
    if rating not in map(str, range(MAX_RATING + 1)):
        raise ValueError(f"rating: got {shown(rating)}, expected 0 to {MAX_RATING}, no decimals")
    clips = _clips(clip, start, end, durations[vid], clip_seconds)
    if clip and (start or end):
        inside = _clips("", start, end, durations[vid], clip_seconds)
        if [*inside] != [*clips]:
            raise ValueError(f"clip: got {clip}, and start, end: {start} and {end}; expected one")
    return (vid, text), name, clips, int(rating)


def _clips(clip: str, start: str, end: str, duration: float, clip_seconds: float) -> Sequence[int]:
    count = max(1, int(duration / clip_seconds))
    if clip or not (start or end):
        if not re.fullmatch(r"\d{1,9}", clip, re.ASCII) or int(clip) >= count:
            raise ValueError(f"clip: got {shown(clip)}, expected 0 to {count - 1}")
        return [int(clip)]
    times = [_seconds(key, value) for key, value in (("start", start), ("end", end))]
    if not times[0] < times[1] <= duration + clip_seconds:
        raise ValueError(
            f"start, end: got {start} and {end}, expected start < end <= {duration:g} (seconds)"
        )
    # Clip k has its middle at (k + 1/2) * clip_seconds.
    first, last = (math.ceil(time / clip_seconds - 0.5) for time in times)
    if not (inside := range(first, min(last, count))):
        raise ValueError(
            f"start, end: got {start} and {end}, which hold the middle of no clip of "
            f"{clip_seconds:g} seconds"
        )
    return inside


def _seconds(key: str, text: str) -> float:
    """Seconds of `75.5`, `1:15.5` or `0:01:15.5`."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text, re.ASCII):
        raise ValueError(f"{key}: got {shown(text)}, expected seconds, such as 75.5 or 1:15.5")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _inert(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
