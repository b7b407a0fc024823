"""Find the biases that give the sample's model the modality gap of a real CLIP model.

    python -m sample.cones               a minute on one core; writes sample/gap.safetensors

CLIP's pictures lie in one narrow cone of the embedding and its texts in another, so the cosines of
pictures and texts are near a positive mean. The cosines of the small model spread far more. A bias
of the last LayerNorm of each tower makes such cones. Their axes are directions along which pictures
hardly vary, so that the ranking of pictures by cosine stays nearly the same. `sample.gap` makes a
model of the biases.
"""

import argparse
import math
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor

from hlclip.system import replacing
from sample.pretrain import HELD_OUT, draw

PICTURES = 600
IMAGE_SIZE, TEXT_SIZE = 21.0, 17.0
"""Length along the axes; features of pictures and texts have lengths of 11 and 8 without it."""
AXES_COSINE = 0.135
"""Sizes and cosine were chosen on val of the sample: the zero-shot cosines of a query have a
standard deviation of 0.05 around a mean of 0.19."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="local-dir:sample/model")
    parser.add_argument("--out", type=Path, default=Path("sample/gap.safetensors"))
    arguments = parser.parse_args()
    biases = find_biases(open_clip.create_model(arguments.model), pictures=PICTURES)
    with replacing(arguments.out) as temporary:
        save_file(biases, temporary)


@torch.inference_mode()
def find_biases(model: Any, *, pictures: int) -> dict[str, Tensor]:
    """The biases of both towers' last LayerNorm that move features along two axes.

    Args:
        model: open_clip's model of the sample.
        pictures: number of pictures that the variance is measured on.

    Returns:
        open_clip's parameter name -> float16 [width].
    """
    images, _ = draw(HELD_OUT, pictures)
    features = model.eval().encode_image(images).double()  # [pictures, embedding], any length
    norms = {"visual.ln_post.bias": model.visual.ln_post, "ln_final.bias": model.ln_final}
    # [embedding, width] each: how a bias moves the features.
    image_map, text_map = model.visual.proj.T.double(), model.text_projection.T.double()
    # The text tower is the narrower one, so the axes are among the directions that it reaches.
    reached = torch.linalg.qr(text_map).Q  # [embedding, width of the text tower]
    _, vectors = torch.linalg.eigh(reached.T @ torch.cov(features.T) @ reached)
    first, second = (reached @ vectors[:, :2]).T  # least variance first
    first, second = (axis * (axis @ features.mean(0)).sign() for axis in (first, second))
    other = AXES_COSINE * first + math.sqrt(1 - AXES_COSINE**2) * second
    moves = (image_map, IMAGE_SIZE * other), (text_map, TEXT_SIZE * first)
    return {
        name: (norm.bias + torch.linalg.pinv(matrix) @ move).half()
        for (name, norm), (matrix, move) in zip(norms.items(), moves, strict=True)
    }


if __name__ == "__main__":
    main()
