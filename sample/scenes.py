"""Scenes: what is in a picture, and how it is drawn.

A scene is drawn in picture heights: (0, 0) is the centre, x to the right, y downwards.
"""

from dataclasses import dataclass

import numpy as np

from sample.picture import HEIGHT, WIDTH, rgb
from sample.places import PLACES
from sample.shapes import SUBJECTS

COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.1, 0.1),
    "orange": (0.98, 0.55, 0.1),
    "yellow": (0.98, 0.9, 0.15),
    "green": (0.1, 0.7, 0.2),
    "blue": (0.15, 0.25, 0.9),
    "purple": (0.5, 0.15, 0.65),
    "pink": (0.98, 0.55, 0.75),
    "white": (0.97, 0.97, 0.97),
}
OUTLINE = rgb(0.1, 0.08, 0.08)
PASSER_BY = rgb(0.22, 0.2, 0.22)


@dataclass(frozen=True)
class Thing:
    """What a subject is: all that a caption says about it."""

    subject: str
    colour: str


@dataclass(frozen=True)
class Pose:
    """Where and how a subject is shown: nothing of it is ever said in a caption."""

    x: float = 0.0
    y: float = 0.0
    radius: float = 0.25
    tilt: float = 0.0
    """Radians, clockwise."""
    sparkles: int = 0
    """Glints around the subject."""


def draw_place(place: str, rng: np.random.Generator) -> np.ndarray:
    """A background (height, width, RGB), float32 in 0..1, with its own light and tint."""
    tint = rng.uniform(0.88, 1.08, 3).astype(np.float32)
    return np.clip(PLACES[place](rng).astype(np.float32) * tint, 0, 1)


def draw_thing(picture: np.ndarray, thing: Thing, pose: Pose, rng: np.random.Generator) -> None:
    """Draw onto `picture` (height, width, RGB; float32 in 0..1), in place."""
    radius = pose.radius * HEIGHT  # from here on in pixels
    x, y = WIDTH / 2 + pose.x * HEIGHT, HEIGHT / 2 + pose.y * HEIGHT
    reach = 1.5 * radius
    rows = slice(max(0, int(y - reach)), max(0, min(HEIGHT, int(y + reach) + 1)))
    columns = slice(max(0, int(x - reach)), max(0, min(WIDTH, int(x + reach) + 1)))
    region = picture[rows, columns]
    # In float64, as in places.py.
    dy = (np.arange(rows.start, rows.start + region.shape[0]) - y)[:, None]
    dx = (np.arange(columns.start, columns.start + region.shape[1]) - x)[None]
    cos, sin = np.cos(pose.tilt) / radius, np.sin(pose.tilt) / radius
    u, v = cos * dx + sin * dy, cos * dy - sin * dx

    silhouette, dark = SUBJECTS[thing.subject]
    inside = silhouette(u, v)
    region += (OUTLINE - region) * coverage(inside + 0.1, radius)
    region += (rgb(*COLOURS[thing.colour]) - region) * coverage(inside, radius)
    if dark is not None:
        region += (OUTLINE - region) * coverage(np.minimum(inside, dark(u, v)), radius)

    for angle, distance in zip(
        rng.uniform(0, 2 * np.pi, pose.sparkles),
        rng.uniform(1.1, 1.7, pose.sparkles) * radius,
        strict=True,
    ):
        draw_sparkle(picture, int(x + distance * np.cos(angle)), int(y + distance * np.sin(angle)))


def coverage(field: np.ndarray, radius: float) -> np.ndarray:
    """The covered share (rows, columns, 1) of each pixel: a soft edge one pixel wide."""
    return np.clip(field * radius + 0.5, 0, 1)[..., None]


def draw_sparkle(picture: np.ndarray, x: int, y: int) -> None:
    if 2 <= x < WIDTH - 2 and 2 <= y < HEIGHT - 2:
        picture[y, x - 2 : x + 3] = (1.0, 1.0, 0.8)
        picture[y - 2 : y + 3, x] = (1.0, 1.0, 0.8)


def draw_passer_by(picture: np.ndarray, x: float, width: float) -> None:
    """A dark figure close to the camera, `width` wide, that hides what is behind it."""
    left = round(WIDTH / 2 + (x - width / 2) * HEIGHT)
    right = round(WIDTH / 2 + (x + width / 2) * HEIGHT)
    picture[HEIGHT // 8 :, max(0, left) : max(0, right)] = PASSER_BY


def photograph(
    picture: np.ndarray, *, light: float, shake: int, grain: float, rng: np.random.Generator
) -> np.ndarray:
    """What the camera makes of it: uint8 (height, width, RGB).

    `light` multiplies the brightness, `shake` pixels of motion blur along a row, `grain` is the
    standard deviation of the sensor's noise on the scale 0..1.
    """
    if shake > 1:
        padded = np.pad(picture, ((0, 0), (shake // 2, shake - 1 - shake // 2), (0, 0)), "edge")
        shifted = (padded[:, i : i + WIDTH] for i in range(shake))
        picture = sum(shifted, start=np.zeros_like(picture)) / shake
    noise = rng.standard_normal((HEIGHT, WIDTH, 1), np.float32) * np.float32(grain)
    return (np.clip(picture * np.float32(light) + noise, 0, 1) * 255).astype(np.uint8)
