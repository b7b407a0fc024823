"""Ratings that visitors give to clips; each is on the disk before its visitor is told so."""

import copy
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from hlclip.datasets import Query, Ratings, read_ratings, write_ratings, write_rows
from hlclip.formats import CLIP_SECONDS, MAX_RATING
from hlclip.highlights import clip_pictures, data_url, name_videos
from hlclip.system import HlclipError, sole_writer
from hlclip.video import VideoError, probe

log = logging.getLogger(__name__)

_PICTURE_HEIGHT = 72

_Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$"),
]


class Asked(BaseModel):
    """What the page sends; anybody may send anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    vid: str
    query: _Line = ""
    annotator: _Line = ""
    clip: Annotated[int, Field(ge=0)] | None = None
    """None: every clip that the annotator has not rated."""
    rating: Annotated[int, Field(ge=0, le=MAX_RATING)] = 0


@dataclass(frozen=True)
class Film:
    """A video to annotate."""

    path: Path
    duration: float

    @property
    def clips(self) -> int:
        return max(1, int(self.duration / CLIP_SECONDS))


class Annotating:
    """Ratings of some videos, and the two files that hold them.

    `FILE.ratings.csv` holds every rating. The annotation file is made from it, and has the queries
    that `annotators` people have rated in full. `index` demands a rating of each clip by each
    annotator, so a missing rating is no 0: the query is left out until it is given.
    """

    def __init__(self, out: Path, films: Mapping[str, Film], *, annotators: int) -> None:
        self.out, self.films, self.annotators = out, films, annotators
        self._file = ratings_file(out)
        self._lock, self._decoding = threading.Lock(), threading.Lock()
        self._durations = {vid: film.duration for vid, film in films.items()}
        self._ratings = Ratings()
        self._pictures = lru_cache(maxsize=16)(self._decoded)
        if self._file.exists():
            self._ratings = read_ratings(self._file, self._durations)
            self._write_rows()
        elif out.exists():
            raise HlclipError(
                f"{out}: exists without {self._file.name}, so the page did not make it",
                "give --annotations another name",
            )

    def look(self, asked: Asked) -> dict[str, Any]:
        """The queries of a video, and what was rated of one of them."""
        self._film(asked)
        with self._lock:
            given = self._ratings.given
            rated = given.get((asked.vid, asked.query), {}).get(asked.annotator, {})
            queries = [query for query in given if query[0] == asked.vid]
            return {
                "queries": [[text, len(self._finished((vid, text)))] for vid, text in queries],
                "rated": {str(clip): rating for clip, rating in rated.items()},
                "finished": self._finished((asked.vid, asked.query)),
                "rows": len(self._complete()),
                "total": len(given),
            }

    def ask(self, asked: Asked) -> dict[str, Any]:
        """Add a query to a video."""
        query = self._query(asked)
        with self._saving():
            self._ratings.given.setdefault(query, {})
        return self.look(asked)

    def rate(self, asked: Asked) -> dict[str, Any]:
        """Save the rating of a clip, or the same rating of all clips that have none.

        Raises:
            HlclipError: no name, no such clip, or enough annotators have finished this query.
            WriteError: the ratings cannot be saved; then they are as before.
        """
        query, name, clips = self._query(asked), asked.annotator, self._film(asked).clips
        if not name:
            raise HlclipError("Type your name first: ratings are kept by name.")
        if asked.clip is not None and asked.clip >= clips:
            raise HlclipError(f"Got clip {asked.clip}, expected 0 to {clips - 1}.")
        with self._saving():
            given = self._ratings.given.get(query, {})
            finished = self._finished(query)
            if name not in given and len(finished) >= self.annotators:
                raise HlclipError(
                    f"This query has its {self.annotators} annotators: {', '.join(finished)}."
                )
            rest = [clip for clip in range(clips) if clip not in given.get(name, {})]
            for clip in rest if asked.clip is None else [asked.clip]:
                self._ratings.give(query, name, clip, asked.rating)
        return self.look(asked)

    def pictures(self, asked: Asked) -> dict[str, Any]:
        """A small picture of each clip of a video."""
        return {"pictures": self._pictures(self._film(asked).path)}

    def _decoded(self, path: Path) -> list[str]:
        with self._decoding:
            made = clip_pictures(path, clip_seconds=CLIP_SECONDS, height=_PICTURE_HEIGHT)
            return [data_url(picture) for picture in made]

    def _film(self, asked: Asked) -> Film:
        if asked.vid not in self.films:
            raise HlclipError(f"No video {asked.vid!r} is to be annotated.")
        return self.films[asked.vid]

    def _query(self, asked: Asked) -> Query:
        self._film(asked)
        if not asked.query:
            raise HlclipError("Type a query first: what should the clips show?")
        return asked.vid, asked.query

    @contextmanager
    def _saving(self) -> Iterator[None]:
        """Write what is changed in this context; what cannot be written is not changed."""
        with self._lock:
            before = copy.deepcopy(self._ratings.given)
            try:
                yield
                if self._ratings.given != before:
                    write_ratings(self._file, self._ratings)
                    self._write_rows()
            except BaseException:
                self._ratings.given = before
                raise

    def _finished(self, query: Query) -> list[str]:
        """Annotators who have rated each clip, in the order in which they began."""
        clips = self.films[query[0]].clips
        given = self._ratings.given.get(query, {})
        return [name for name, rated in given.items() if len(rated) == clips]

    def _complete(self) -> dict[Query, list[str]]:
        """Query with enough annotators -> the first of them."""
        finished = {query: self._finished(query) for query in self._ratings.given}
        return {
            query: names[: self.annotators]
            for query, names in finished.items()
            if len(names) >= self.annotators
        }

    def _write_rows(self) -> None:
        complete = self._complete()
        if complete:
            write_rows(self.out, self._ratings.rows(self._durations, only=complete))
        else:
            self.out.unlink(missing_ok=True)  # of a start with fewer annotators


@contextmanager
def annotating(out: Path, videos: Iterable[Path], *, annotators: int) -> Iterator[Annotating]:
    """Take ratings for an annotation file, as its only writer.

    Args:
        out: the annotation file; the ratings of earlier times are next to it.
        videos: videos and folders of videos. Those that cannot be used are named and left out.
        annotators: number of people whose ratings make a row.

    Raises:
        DiskError: another server takes ratings for this file.
        HlclipError: `out` was made otherwise, two videos have one name, or none can be used.
        AnnotationError: the file of ratings is malformed, or names other videos.
    """
    films: dict[str, Film] = {}
    for path, name in name_videos(videos).items():
        if name != path.stem:
            raise HlclipError(f"two videos have the name {path.stem}, one is {path}", "rename one")
        try:
            films[path.stem] = Film(path, probe(path).duration)
        except VideoError as error:
            log.warning("%s: left out: %s", path, error)
    if not films:
        raise HlclipError("none of the videos can be used, so there is nothing to annotate")
    with sole_writer(out):
        yield Annotating(out, films, annotators=annotators)


def ratings_file(out: Path) -> Path:
    """The file that holds every rating for an annotation file: `train.ratings.csv`."""
    return out.with_suffix(".ratings.csv")
