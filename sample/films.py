"""Films: what the sample's videos show, second by second, and how three people rate it.

A film is a row of shots. Some show what the query asks for, others share its colour, its subject or
its place, or nothing. Every shot is more or less *lively*: the subject comes close to the camera
and dances, the air glitters, and all calms down again within seconds. People rate the clips of the
moments that were asked for, the livelier the better. Pre-training never heard of any of this.

Single frames tell less than a clip: the camera shakes or looks away, the light flickers, people
walk by. Raters see the whole clip and forgive that.

How moments and ratings vary follows what was measured on QVHighlights' training split, listed in
sample/README.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sample.captions import query
from sample.picture import HEIGHT, WIDTH
from sample.places import PLACES
from sample.scenes import (
    COLOURS,
    Pose,
    Thing,
    draw_passer_by,
    draw_place,
    draw_sparkle,
    draw_thing,
    photograph,
)
from sample.shapes import SUBJECTS

FPS = 2
CLIP_SECONDS = 2
ANNOTATORS = 3
MIN_SHOT_SECONDS, MEDIAN_SHOT_SECONDS = 4, 14
MOOD_STAYS = 0.8
SPELLS = 0.5  # a second, of each kind


@dataclass(frozen=True)
class Shot:
    """One take, from `start` to `end` seconds of the film."""

    start: float
    end: float
    thing: Thing
    place: str
    asked_for: bool
    mood: tuple[float, ...]
    """Every two seconds from `start` on: 0 is usual, the standard deviation is 1."""

    def mood_at(self, seconds: np.ndarray | float) -> np.ndarray:
        """Mood at times of the film, linear in between."""
        grid = self.start + CLIP_SECONDS * np.arange(len(self.mood))
        return np.asarray(np.interp(seconds, grid, self.mood))


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
    seconds = seconds or 2 * int(rng.integers(30, 76))
    thing, place = _thing(rng), str(rng.choice(list(PLACES)))
    cuts = [0.0]
    while True:
        length = max(MIN_SHOT_SECONDS, rng.lognormal(np.log(MEDIAN_SHOT_SECONDS), 0.9))
        cut = cuts[-1] + float(np.round(length * FPS) / FPS)
        if cut > seconds - MIN_SHOT_SECONDS:
            break
        cuts.append(cut)
    cuts.append(float(seconds))
    asked_for = rng.random(len(cuts) - 1) < 0.25
    if not asked_for.any() or asked_for.all():
        asked_for[:] = False
        asked_for[rng.integers(len(asked_for))] = True
    shots = []
    for start, end, wanted in zip(cuts, cuts[1:], asked_for, strict=False):
        shown = (thing, place) if wanted else _like(thing, place, rng)
        shots.append(Shot(start, end, *shown, bool(wanted), _mood(end - start, rng)))
    return Film(vid, seconds, query(thing, place, rng), tuple(shots), seed)


def draw_film(film: Film) -> Iterator[np.ndarray]:
    """The film's frames: uint8 (height, width, RGB), `FPS` a second."""
    for number, shot in enumerate(film.shots):
        rng = np.random.default_rng((*film.seed, number))
        background = draw_place(shot.place, rng)
        light, grain = rng.uniform(0.75, 1.05), rng.uniform(0.04, 0.1)
        side = rng.uniform(-0.25, 0.25), rng.uniform(-0.1, 0.15)
        passing, away = _spells(shot, rng), _spells(shot, rng)
        for frame in range(round(shot.start * FPS), round(shot.end * FPS)):
            seconds = frame / FPS
            lively = 1 / (1 + np.exp(-1.7 * float(shot.mood_at(seconds))))
            turned = 0.9 if any(begin <= seconds < end for begin, end in away) else 0.0
            pose = Pose(
                x=side[0] * (1 - lively) + rng.normal(0, 0.03) - turned,
                y=side[1] * (1 - lively) + rng.normal(0, 0.03),
                radius=(0.08 + 0.26 * lively) * rng.uniform(0.8, 1.2),
                tilt=0.7 * lively * np.sin(2 * np.pi * 1.3 * seconds) + rng.normal(0, 0.1),
            )
            picture = np.roll(background, -round(turned * HEIGHT), axis=1)
            draw_thing(picture, shot.thing, pose, rng)
            if not turned:
                for x, y in rng.integers((WIDTH, HEIGHT), size=(rng.poisson(25 * lively), 2)):
                    draw_sparkle(picture, x, y)
            for begin, end in passing:
                if begin <= seconds < end:
                    draw_passer_by(picture, 1.2 * (seconds - begin) / (end - begin) - 0.6, 0.5)
            yield photograph(
                picture,
                light=light * rng.uniform(0.55, 1.25),
                shake=int(rng.choice([1, 2, 3, 5, 8])),
                grain=grain,
                rng=rng,
            )


def annotate(film: Film, qid: int) -> dict[str, Any]:
    """The film's row in the QVHighlights format."""
    rng = np.random.default_rng((*film.seed, 1000))
    usual = rng.normal(3.1, 0.45)
    bias = rng.normal(0, 0.85, ANNOTATORS)
    middles = (np.arange(film.clips) + 0.5) * CLIP_SECONDS
    ids, ratings = [], []
    for clip, middle in enumerate(middles):
        shot = next(shot for shot in film.shots if shot.start <= middle < shot.end)
        if not shot.asked_for:
            continue
        mood = shot.mood_at(middle + np.linspace(-1, 1, 9)).mean()
        given = np.rint(usual + 0.75 * mood + bias + rng.normal(0, 0.7, ANNOTATORS))
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
        shared = rng.random(3) < 0.65
        other = Thing(
            thing.subject if shared[0] else other.subject,
            thing.colour if shared[1] else other.colour,
        )
        elsewhere = place if shared[2] else elsewhere
        if (other, elsewhere) != (thing, place):
            return other, elsewhere


def _mood(seconds: float, rng: np.random.Generator) -> tuple[float, ...]:
    """A mood that stays and changes: correlated by `MOOD_STAYS` from clip to clip."""
    steps = int(np.ceil(seconds / CLIP_SECONDS)) + 1
    mood = [rng.normal()]
    for change in rng.normal(0, np.sqrt(1 - MOOD_STAYS**2), steps - 1):
        mood.append(MOOD_STAYS * mood[-1] + change)
    return tuple(map(float, mood))


def _spells(shot: Shot, rng: np.random.Generator) -> list[tuple[float, float]]:
    """(begin, end) of the times in which somebody walks by, or the camera looks away."""
    begins = rng.uniform(shot.start, shot.end, rng.poisson(SPELLS * (shot.end - shot.start)))
    return [(begin, begin + rng.uniform(0.4, 1.2)) for begin in begins]
