"""Captioned stills: what the sample's model is pre-trained on."""

import numpy as np

from sample.captions import caption
from sample.places import PLACES
from sample.scenes import (
    COLOURS,
    Pose,
    Thing,
    draw_passer_by,
    draw_place,
    draw_thing,
    photograph,
)
from sample.shapes import SUBJECTS


def snapshot(rng: np.random.Generator) -> tuple[np.ndarray, str]:
    """A picture, uint8 (height, width, RGB), and its caption.

    Things are shown near and far, tilted and sparkling, sometimes half hidden, blurred or dark, as
    in pictures of the web; the caption only ever says what they are and where.
    """
    place = str(rng.choice(list(PLACES)))
    things = [random_thing(rng) for _ in range(1 + (rng.random() < 0.25))]
    picture = draw_place(place, rng)
    for index, thing in enumerate(things):
        draw_thing(picture, thing, random_pose(rng, index, len(things)), rng)
    if rng.random() < 0.1:
        draw_passer_by(picture, rng.uniform(-0.6, 0.6), rng.uniform(0.1, 0.25))
    picture = photograph(
        picture,
        light=rng.uniform(0.65, 1.1),
        shake=int(rng.integers(1, 5)),
        grain=rng.uniform(0.01, 0.06),
        rng=rng,
    )
    return picture, caption(things, place, rng)


def random_thing(rng: np.random.Generator) -> Thing:
    return Thing(str(rng.choice(list(SUBJECTS))), str(rng.choice(list(COLOURS))))


def random_pose(rng: np.random.Generator, index: int, things: int) -> Pose:
    """Somewhere in the picture's middle; two things share its width."""
    x = rng.uniform(-0.2, 0.2) if things == 1 else (index - 0.5) * 0.5 + rng.uniform(-0.08, 0.08)
    return Pose(
        x=x,
        y=rng.uniform(-0.12, 0.15),
        radius=rng.uniform(0.12, 0.36 if things == 1 else 0.22),
        tilt=rng.normal(0, 0.25),
        sparkles=int(rng.poisson(6)) if rng.random() < 0.3 else 0,
    )
