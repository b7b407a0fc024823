"""What every picture of the sample has in common."""

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 72, 96  # pixels; not square, so that the encoder's centre crop has work to do


def rgb(red: float, green: float, blue: float) -> NDArray[np.float32]:
    """A colour, each part 0..1."""
    return np.array((red, green, blue), np.float32)
