"""The subjects of the sample's world: silhouettes as fields that are positive inside.

A field takes local coordinates `u` (right) and `v` (down), both in subject radii, and returns about
the distance to the outline in radii, positive inside. Drawing needs no more than that.
"""

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray, np.ndarray], np.ndarray]


def disc(u: np.ndarray, v: np.ndarray, x: float, y: float, radius: float) -> np.ndarray:
    return radius - np.hypot(u - x, v - y)


def box(u: np.ndarray, v: np.ndarray, x: float, y: float, half: tuple[float, float]) -> np.ndarray:
    return np.minimum(half[0] - np.abs(u - x), half[1] - np.abs(v - y))


def wedge(u: np.ndarray, v: np.ndarray, apex: float, base: float, half: float) -> np.ndarray:
    """A triangle standing on `v = base` with its tip at `v = apex`, `half` of its base wide."""
    return np.minimum((v - apex) * half / abs(base - apex) - np.abs(u), base - v)


def ball(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return disc(u, v, 0, 0, 0.9)


def star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    turn = np.abs((np.arctan2(u, v) / (2 * np.pi) * 5) % 1 - 0.5) * 2  # 0 at a tip, 1 in a valley
    return 1 / ((1 - turn) / 1.05 + turn / 0.42) - np.hypot(u, v)


def heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    x = np.abs(u) * 1.1
    return 0.95 - np.hypot(x, -v + 0.2 - 0.75 * np.sqrt(x))


def moon(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.minimum(disc(u, v, -0.1, 0, 1), -disc(u, v, 0.4, -0.1, 0.75))


def flower(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return 0.55 + 0.45 * np.abs(np.cos(3 * np.arctan2(v, u))) - np.hypot(u, v)


def house(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(box(u, v, 0, 0.4, (0.62, 0.5)), wedge(u, v, -0.95, 0, 0.95))


def tree(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    crown = np.maximum(wedge(u, v, -1.05, 0, 0.6), wedge(u, v, -0.55, 0.6, 0.85))
    return np.maximum(crown, box(u, v, 0, 0.8, (0.16, 0.25)))


def boat(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    hull = np.minimum(box(u, v, 0, 0.6, (1, 0.3)), 1.25 - v - np.abs(u) * 0.7)
    return np.maximum(hull, np.minimum(wedge(u, v, -1, 0.2, 0.8), u + 0.1))


def fish(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = (1 - np.hypot((u + 0.25) / 0.8, v / 0.55)) * 0.55
    return np.maximum(body, wedge(v, u, 0.25, 1, 0.6))


def mushroom(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    cap = np.minimum(disc(u, v, 0, 0.1, 1), 0.15 - v)
    return np.maximum(cap, box(u, v, 0, 0.5, (0.27, 0.45)))


def butterfly(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    wings = 1.05 * np.sqrt(np.abs(np.sin(2 * np.arctan2(v, u)))) - np.hypot(u, v)
    return np.maximum(wings, box(u, v, 0, 0, (0.1, 0.75)))


def car(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    body = np.maximum(box(u, v, 0, 0.2, (1.05, 0.27)), box(u, v, -0.1, -0.2, (0.55, 0.3)))
    return np.maximum(body, wheels(u, v))


def wheels(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(disc(u, v, -0.55, 0.5, 0.27), disc(u, v, 0.55, 0.5, 0.27))


# name -> (silhouette, the part of it that is drawn dark, if any)
SUBJECTS: dict[str, tuple[Field, Field | None]] = {
    "ball": (ball, lambda u, v: 0.12 - np.abs(v)),
    "star": (star, None),
    "heart": (heart, None),
    "moon": (moon, None),
    "flower": (flower, lambda u, v: disc(u, v, 0, 0, 0.3)),
    "house": (house, lambda u, v: box(u, v, 0, 0.6, (0.18, 0.3))),
    "tree": (tree, lambda u, v: box(u, v, 0, 0.85, (0.16, 0.22))),
    "boat": (boat, lambda u, v: box(u, v, 0, 0.25, (1, 0.07))),
    "fish": (fish, lambda u, v: disc(u, v, -0.65, -0.1, 0.13)),
    "mushroom": (mushroom, lambda u, v: box(u, v, 0, 0.6, (0.27, 0.35))),
    "butterfly": (butterfly, lambda u, v: box(u, v, 0, 0, (0.1, 0.75))),
    "car": (car, wheels),
}
