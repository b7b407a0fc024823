"""The places of the sample's world: backgrounds, drawn again for every picture or shot."""

from collections.abc import Callable

import numpy as np

from sample.picture import HEIGHT, WIDTH, rgb

Place = Callable[[np.random.Generator], np.ndarray]

# Pixel coordinates in picture heights: x to the right, y downwards, 0 in the upper left corner.
# In float64: the last bits of a sine depend on the processor, and must not reach a pixel.
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH] / HEIGHT


def blend(upper: tuple[float, ...], lower: tuple[float, ...], share: np.ndarray) -> np.ndarray:
    """RGB between two colours; `share` (height, width) of the second, clipped to 0..1."""
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(upper) * (1 - share) + np.asarray(lower) * share


def horizon(rng: np.random.Generator) -> float:
    return rng.uniform(0.35, 0.6)


def sea(rng: np.random.Generator) -> np.ndarray:
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * (rng.uniform(7, 10) * Y + 0.15 * np.sin(9 * X)))
    water = blend((0.05, 0.3, 0.55), (0.2, 0.55, 0.75), wave)
    return np.where((horizon(rng) < Y)[..., None], water, rgb(0.65, 0.82, 0.95))


def meadow(rng: np.random.Generator) -> np.ndarray:
    grass = blend((0.25, 0.55, 0.15), (0.4, 0.7, 0.25), rng.random((HEIGHT, WIDTH)) * 1.4 - 0.2)
    return np.where((horizon(rng) < Y)[..., None], grass, rgb(0.55, 0.78, 0.98))


def desert(rng: np.random.Generator) -> np.ndarray:
    dunes = Y - horizon(rng) + 0.06 * np.sin(2 * np.pi * (X * rng.uniform(0.8, 1.5) + rng.random()))
    sand = blend((0.93, 0.8, 0.5), (0.75, 0.55, 0.3), dunes * 2)
    return np.where((dunes > 0)[..., None], sand, rgb(0.95, 0.9, 0.75))


def forest(rng: np.random.Generator) -> np.ndarray:
    trunks = np.sin(2 * np.pi * (X * rng.uniform(5, 7) + rng.random())) > 0.4
    leaves = blend((0.08, 0.25, 0.1), (0.15, 0.4, 0.15), rng.random((HEIGHT, WIDTH)))
    return np.where((trunks & (Y > 0.15))[..., None], rgb(0.3, 0.18, 0.1), leaves)


def city(rng: np.random.Generator) -> np.ndarray:
    towers = rng.uniform(0.1, 0.6, 9)[np.minimum(X * 6.7, 8).astype(int)]
    windows = (np.sin(X * 80) > 0) & (np.sin(Y * 70) > 0.2)
    walls = np.where(windows[..., None], rgb(0.9, 0.8, 0.4), rgb(0.35, 0.35, 0.4))
    return np.where((towers < Y)[..., None], walls, rgb(0.72, 0.75, 0.8))


def snow(rng: np.random.Generator) -> np.ndarray:
    ridge = horizon(rng) + 0.2 * (np.abs((X * rng.uniform(1, 2) + rng.random()) % 1 - 0.5) - 0.25)
    slope = blend((0.98, 0.98, 1), (0.8, 0.86, 0.95), (Y - ridge) * 2)
    return np.where((ridge < Y)[..., None], slope, blend((0.5, 0.6, 0.75), (0.75, 0.8, 0.9), Y * 2))


def night(rng: np.random.Generator) -> np.ndarray:
    sky = blend((0.02, 0.02, 0.12), (0.1, 0.08, 0.28), Y)
    sky[rng.random((HEIGHT, WIDTH)) > 0.985] = 0.85
    return np.where((rng.uniform(0.8, 0.95) < Y)[..., None], rgb(0.02, 0.04, 0.05), sky)


def kitchen(rng: np.random.Generator) -> np.ndarray:
    tile = rng.uniform(0.13, 0.18)
    checks = (np.floor(X / tile) + np.floor(Y / tile + rng.random())) % 2
    wall = blend((0.92, 0.9, 0.85), (0.7, 0.82, 0.8), checks)
    return np.where((rng.uniform(0.7, 0.85) < Y)[..., None], rgb(0.5, 0.33, 0.2), wall)


PLACES: dict[str, Place] = {
    "sea": sea,
    "meadow": meadow,
    "desert": desert,
    "forest": forest,
    "city": city,
    "snow": snow,
    "night": night,
    "kitchen": kitchen,
}
