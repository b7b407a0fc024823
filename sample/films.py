"""Films: what the sample's videos show, second by second, and how three people rate it.

A film is a row of shots. Some show what the query asks for, others share its colour, its subject or
its place, or nothing. In every shot the subject is more or less *lively*: it comes close to the
camera, dances and glitters, and goes away again over many seconds. People rate the clips of the
moments that were asked for, the livelier the better. Pre-training never heard of any of this.

Single frames tell less than seconds do: the camera shakes, the light flickers, people walk by.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sample.captions import query
from sample.places import PLACES
from sample.scenes import COLOURS, Pose, Thing, draw_passer_by, draw_place, draw_thing, photograph
from sample.shapes import SUBJECTS

FPS = 4
CLIP_SECONDS = 2
ANNOTATORS = 3


@dataclass(frozen=True)
class Shot:
    """One take, from `start` to `end` seconds of the film."""

    start: float
    end: float
    thing: Thing
    place: str
    asked_for: bool
    period: float
    """Seconds from one lively time to the next."""
    phase: float

    def liveliness(self, seconds: np.ndarray | float) -> np.ndarray:
        """0 (far, still) .. 1 (close, dancing) at times of the film."""
        return 0.5 + 0.5 * np.sin(2 * np.pi * np.asarray(seconds) / self.period + self.phase)


@dataclass(frozen=True)
class Film:
    vid: str
    seconds: int
    """Duration, even."""
    query: str
    shots: tuple[Shot, ...]
    seed: tuple[int, ...]

    @property
    def clips(self) -> int:
        return self.seconds // CLIP_SECONDS


def plan_film(vid: str, seed: tuple[int, ...], *, seconds: int | None = None) -> Film:
    """Decide on everything but the pixels; the same seed gives the same film."""
    rng = np.random.default_rng(seed)
    seconds = seconds or 2 * int(rng.integers(15, 51))
    thing, place = _thing(rng), str(rng.choice(list(PLACES)))
    cuts = [0.0]
    while seconds - cuts[-1] > 16:
        cuts.append(cuts[-1] + float(np.round(rng.uniform(5, 15) * FPS) / FPS))
    cuts.append(float(seconds))
    asked_for = rng.random(len(cuts) - 1) < 0.35
    if not asked_for.any() or asked_for.all():
        asked_for[:] = False
        asked_for[rng.integers(len(asked_for))] = True
    shots = tuple(
        Shot(start, end, *(_like(thing, place, rng) if not own else (thing, place)), bool(own),
             period=float(rng.uniform(9, 22)), phase=float(rng.uniform(0, 2 * np.pi)))
        for start, end, own in zip(cuts, cuts[1:], asked_for, strict=False)
    )  # fmt: skip
    return Film(vid, seconds, query(thing, place, rng), shots, seed)


def draw_film(film: Film) -> Iterator[np.ndarray]:
    """The film's frames: uint8 (height, width, RGB), `FPS` a second."""
    for number, shot in enumerate(film.shots):
        rng = np.random.default_rng((*film.seed, number))
        background = draw_place(shot.place, rng)
        light, grain = rng.uniform(0.75, 1.05), rng.uniform(0.03, 0.07)
        side = rng.uniform(-0.25, 0.25), rng.uniform(-0.1, 0.15)
        passing = _passers_by(shot, rng)
        for frame in range(round(shot.start * FPS), round(shot.end * FPS)):
            seconds = frame / FPS
            lively = float(shot.liveliness(seconds))
            pose = Pose(
                x=side[0] * (1 - lively) + rng.normal(0, 0.03),
                y=side[1] * (1 - lively) + rng.normal(0, 0.03),
                radius=(0.14 + 0.18 * lively) * rng.uniform(0.85, 1.15),
                tilt=0.7 * lively * np.sin(2 * np.pi * 1.3 * seconds) + rng.normal(0, 0.1),
                sparkles=int(rng.poisson(7 * lively)),
            )
            picture = background.copy()
            draw_thing(picture, shot.thing, pose, rng)
            for begin, end, width in passing:
                if begin <= seconds < end:
                    share = (seconds - begin) / (end - begin)
                    draw_passer_by(picture, 1.4 * share - 0.7, width)
            yield photograph(
                picture,
                light=light * rng.uniform(0.7, 1.25),
                shake=int(rng.choice([1, 1, 2, 4, 7])),
                grain=grain,
                rng=rng,
            )


def annotate(film: Film, qid: int) -> dict[str, Any]:
    """The film's row in the QVHighlights format."""
    rng = np.random.default_rng((*film.seed, 1000))
    bias = rng.normal(0, 0.4, ANNOTATORS)
    middles = (np.arange(film.clips) + 0.5) * CLIP_SECONDS
    ids, ratings = [], []
    for clip, middle in enumerate(middles):
        shot = next(shot for shot in film.shots if shot.start <= middle < shot.end)
        if not shot.asked_for:
            continue
        # People watch the whole clip and forgive a bad frame: the mean over the clip, not a frame.
        lively = shot.liveliness(middle + np.linspace(-1, 1, 9)).mean()
        given = np.rint(4.6 * lively - 0.3 + bias + rng.normal(0, 0.5, ANNOTATORS))
        ids.append(clip)
        ratings.append(np.clip(given, 0, 4).astype(int).tolist())
    return {
        "qid": qid,
        "query": film.query,
        "duration": film.seconds,
        "vid": film.vid,
        "relevant_clip_ids": ids,
        "saliency_scores": ratings,
        "relevant_windows": _windows(ids),
    }


def _windows(ids: list[int]) -> list[list[int]]:
    """[start, end] in seconds of each run of consecutive clips."""
    windows: list[list[int]] = []
    for clip in ids:
        if windows and windows[-1][1] == clip * CLIP_SECONDS:
            windows[-1][1] += CLIP_SECONDS
        else:
            windows.append([clip * CLIP_SECONDS, (clip + 1) * CLIP_SECONDS])
    return windows


def _thing(rng: np.random.Generator) -> Thing:
    return Thing(str(rng.choice(list(SUBJECTS))), str(rng.choice(list(COLOURS))))


def _like(thing: Thing, place: str, rng: np.random.Generator) -> tuple[Thing, str]:
    """Something else: it may share subject, colour or place with what is asked for, not all."""
    while True:
        other, elsewhere = _thing(rng), str(rng.choice(list(PLACES)))
        shared = rng.random(3) < 0.3
        other = Thing(
            thing.subject if shared[0] else other.subject,
            thing.colour if shared[1] else other.colour,
        )
        elsewhere = place if shared[2] else elsewhere
        if (other, elsewhere) != (thing, place):
            return other, elsewhere


def _passers_by(shot: Shot, rng: np.random.Generator) -> list[tuple[float, float, float]]:
    """(begin, end, width) of each: now and then somebody hides the view for a second or two."""
    count = rng.poisson(0.1 * (shot.end - shot.start))
    begins = rng.uniform(shot.start, shot.end, count)
    return [(b, b + rng.uniform(0.8, 2.0), rng.uniform(0.3, 0.6)) for b in begins]
