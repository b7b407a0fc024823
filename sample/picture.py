"""What every picture of the sample has in common."""

HEIGHT, WIDTH = 72, 96  # pixels; not square, so that the encoder's centre crop has work to do
