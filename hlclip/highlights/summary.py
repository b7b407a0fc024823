"""The best moments of all videos for each query: rows, CSV and a page with pictures."""

import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from hlclip.highlights.generic import MEASURE
from hlclip.highlights.moments import Moment, clock
from hlclip.highlights.output import Answer
from hlclip.highlights.pictures import data_url, pictures
from hlclip.system import write_table, write_whole
from hlclip.video import VideoError

log = logging.getLogger(__name__)

SHOWN = 60
"""Moments of a query on the page, at most: each has a picture of about 8 kB."""

_HEIGHT = 160
"""Of a picture, in pixels."""


class Found(NamedTuple):
    """A moment among those of all videos."""

    place: int
    """1 is the best moment of all videos for the query."""
    answer: Answer
    moment: Moment


def rank_moments(answers: Sequence[Answer]) -> dict[str, list[Found]]:
    """Title of each query -> its moments in all videos, best first; may be empty.

    The scores of one query compare between videos. Those of highlights without a query do not: the
    best moment of each video comes first, then the second of each.
    """
    keyed: dict[str, list[tuple[float, Answer, Moment]]] = {}
    for answer in answers:
        generic = answer.curve.measure == MEASURE
        rows = keyed.setdefault(answer.title, [])
        for rank, moment in enumerate(answer.moments):
            rows.append((rank if generic else -moment.score, answer, moment))
    return {
        title: [
            Found(place, answer, moment)
            for place, (_, answer, moment) in enumerate(sorted(rows, key=itemgetter(0)), start=1)
        ]
        for title, rows in keyed.items()
    }


def write_summary_csv(path: Path, ranked: Mapping[str, Sequence[Found]]) -> None:
    """Write a row for each moment: query, place, video, range in seconds, score and ratings."""
    rows: list[list[object]] = [
        ["name", "query", "place", "video", "start", "end", "score", "rating", "very_good"]
    ]
    for found in ranked.values():
        for place, answer, moment in found:
            name, video = answer.name or answer.curve.query, str(answer.curve.video)
            span = [f"{moment.start_seconds:g}", f"{moment.end_seconds:g}"]
            worth = ["" if x is None else f"{x:.4f}" for x in (moment.rating, moment.very_good)]
            rows.append([name, answer.curve.query, place, video, *span, moment.score, *worth])
    write_table(path, rows)


def write_summary_page(
    path: Path,
    answers: Sequence[Answer],
    ranked: Mapping[str, Sequence[Found]],
    failed: dict[str, str],
    *,
    model: Mapping[str, str | None],
) -> None:
    """Write the page, whole or not at all: one file, which loads nothing but the linked videos.

    Args:
        ranked: from `rank_moments`; the first `SHOWN` of each query are on the page.
        failed: video that could not be used -> reason; gets those that give no pictures.
        model: see `Scorer.model`.
    """
    environment = Environment(
        loader=PackageLoader("hlclip.highlights"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    videos = {answer.curve.video for answer in answers}
    counts = Counter(video.name for video in videos)
    # Videos in two folders may have one name.
    names = {video: video.name if counts[video.name] == 1 else str(video) for video in videos}
    best = {title: found[:SHOWN] for title, found in ranked.items()}
    shown = _thumbnails([each for found in best.values() for each in found], failed)
    without: dict[str, list[str]] = {title: [] for title in ranked}
    for answer in answers:
        if not answer.moments:
            without[answer.title].append(names[answer.curve.video])
    page = environment.get_template("summary.html").render(
        queries={
            title: [_card(each, shown, names, path.parent) for each in found]
            for title, found in best.items()
        },
        generic=any(answer.curve.measure == MEASURE for answer in answers),
        counts={title: len(found) for title, found in ranked.items()},
        model=model,
        without=without,
        failed=failed,
    )
    write_whole(path, page.encode(errors="backslashreplace"))


Pictures = dict[tuple[Path, int], str]
"""(video, clip) -> its picture as the data URL of a JPEG."""


def _thumbnails(found: Sequence[Found], failed: dict[str, str]) -> Pictures:
    """Pictures of the best clips; the clips of a video are decoded together."""
    clips: dict[Path, set[int]] = {}
    for each in found:
        clips.setdefault(each.answer.curve.video, set()).add(_best_clip(each))
    seconds = {each.answer.curve.video: each.answer.curve.clip_seconds for each in found}
    shown: Pictures = {}
    for video, wanted in clips.items():
        order = sorted(wanted)
        try:
            made = pictures(video, order, clip_seconds=seconds[video], height=_HEIGHT)
        except VideoError as error:
            log.warning("%s", error)
            failed.setdefault(str(video), str(error))
            continue
        shown |= {
            (video, clip): data_url(picture) for clip, picture in zip(order, made, strict=True)
        }
    return shown


def _best_clip(found: Found) -> int:
    saliency = found.answer.curve.saliency
    return max(found.moment.clips, key=lambda clip: saliency[clip])


def _card(
    found: Found, shown: Pictures, names: Mapping[Path, str], folder: Path
) -> dict[str, object]:
    moment, video = found.moment, found.answer.curve.video
    start, end = moment.start_seconds, moment.end_seconds
    return {
        "place": found.place,
        "video": names[video],
        "path": str(video),
        # Players of browsers begin at this time. A colon in a name would end a scheme: quoted.
        "link": quote(os.path.relpath(video, folder)) + f"#t={start:g},{end:g}",
        "span": f"{clock(start)} - {clock(end)}",
        "score": f"{moment.score:.4f}",
        "worth": moment.worth,
        "doubtful": moment.doubtful,
        "picture": shown.get((video, _best_clip(found)), ""),
    }
