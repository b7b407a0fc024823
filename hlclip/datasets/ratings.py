"""Ratings of clips by several people, and the annotation rows that they make."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hlclip.formats import CLIP_SECONDS, LEVELS, Annotation, AnnotationError, problem_list, shown

Query = tuple[str, str]
"""vid and text."""


@dataclass
class Ratings:
    """What each annotator gave, in the order in which queries and annotators came.

    >>> ratings = Ratings()
    >>> ratings.give(("holiday", "a dog"), "Ann", 3, 4)
    >>> [(row.relevant_clip_ids, row.saliency_scores) for row in ratings.rows({"holiday": 10.0})]
    [((3,), ((4,),))]
    """

    given: dict[Query, dict[str, dict[int, int]]] = field(default_factory=dict)
    """Query -> annotator -> clip, counted from 0 -> rating, 0 (very bad) .. 4 (very good)."""
    lines: dict[tuple[Query, str, int], int] = field(default_factory=dict)
    """Query, annotator and clip -> line of the file that was read, for messages."""

    def give(self, query: Query, annotator: str, clip: int, rating: int) -> None:
        """Note a rating; it replaces an earlier one of the annotator."""
        self.given.setdefault(query, {}).setdefault(annotator, {})[clip] = rating

    def rows(
        self,
        durations: Mapping[str, float],
        *,
        clip_seconds: float = CLIP_SECONDS,
        only: Mapping[Query, Collection[str]] | None = None,
        place: Path = Path("ratings"),
    ) -> list[Annotation]:
        """Annotation rows with a rating of each annotator, who are in the order of their names.

        The relevant clips are those that somebody rated above 0, or all rated ones where nobody
        did. The windows are the runs of clips whose mean rating is Fair (2) or better. The qid is
        the place of the query among all queries, from 1.

        Args:
            durations: vid -> seconds.
            only: the queries that become rows -> the annotators whose ratings count; by default
                all.
            place: the file, for messages.

        Raises:
            AnnotationError: the annotators of a query rated different clips, or are not as many as
                those of the first query; all problems are listed.
        """
        rows: list[Annotation] = []
        problems: list[str] = []
        usual = 0
        for qid, (query, given) in enumerate(self.given.items(), 1):
            if only is not None and query not in only:
                continue
            names = sorted(given if only is None else only[query])
            usual = usual or len(names)
            if not names or len(names) != usual:
                came = f"{len(names)} annotators ({', '.join(names)})" if names else "no rating"
                expected = f"{usual} as for the first query" if names and usual else "some"
                problems.append(f"{self._place(place, query)}: got {came}, expected {expected}")
                continue
            clips = sorted(set().union(*(given[name] for name in names)))
            missing = [(clip, n) for clip in clips for n in names if clip not in given[n]]
            problems += [
                f"{self._place(place, query, clip)}: got no rating of clip {clip} by {name}, "
                "expected one as other annotators gave"
                for clip, name in missing
            ]
            if not missing:
                ratings = np.array([[given[name][clip] for name in names] for clip in clips])
                rows.append(_row(qid, query, clips, ratings, durations[query[0]], clip_seconds))
        if problems:
            raise AnnotationError(
                problem_list(problems),
                "let the same number of annotators rate each query, and each of them the same "
                "clips of it; clips that nobody rated count as 0",
            )
        return rows

    def _place(self, file: Path, query: Query, clip: int | None = None) -> str:
        """Where a query, or a clip of it, is first rated, for messages."""
        lines = [
            line for (of, _, at), line in self.lines.items() if of == query and clip in (None, at)
        ]
        line = f":{min(lines)}" if lines else ""
        return f"{file}{line}: query {shown(query[1])} on {query[0]}"


def _row(
    qid: int,
    query: Query,
    clips: Sequence[int],
    ratings: NDArray[np.int64],
    duration: float,
    clip_seconds: float,
) -> Annotation:
    """The row of a query from ratings [clips, annotators]."""
    # A row without any clip would not say how many annotators there were.
    relevant = ratings.any(axis=1) if ratings.any() else np.ones(len(clips), dtype=bool)
    windows: list[list[float]] = []
    for clip, mean in zip(clips, ratings.mean(axis=1), strict=True):
        start, end = clip * clip_seconds, min((clip + 1) * clip_seconds, duration)
        if mean >= LEVELS["Fair"] and windows and windows[-1][1] == start:
            windows[-1][1] = end
        elif mean >= LEVELS["Fair"]:
            windows.append([start, end])
    row = {
        "qid": qid,
        "query": query[1],
        "vid": query[0],
        "duration": duration,
        "relevant_clip_ids": np.array(clips)[relevant].tolist(),
        "saliency_scores": ratings[relevant].tolist(),
        "relevant_windows": windows,
    }
    return Annotation.model_validate(row, context={"clip_seconds": clip_seconds})
