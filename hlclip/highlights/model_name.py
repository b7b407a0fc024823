"""The model of a scorer in words."""

from collections.abc import Mapping

from hlclip.formats import ZERO_SHOT

OF_THE_SAMPLE = (
    "936dc720c0b642f390203b6fef081014a87a851b87b88c9bf3f0253d6e5ac83b",
    "3b18ea8a2e0a195e931308c5c1f5dcaae1fe3e4a50a0106c9b34f9b1dc6818c2",
)
"""Fingerprints of the models that come with hlclip, sample/model and sample/model-gap."""


def model_in_words(model: Mapping[str, str | None]) -> str:
    """Model, weights and checkpoint, and the limit of the models that come with hlclip.

    Args:
        model: see `Scorer.model`.
    """
    weights = "" if model["pretrained"] in (None, "none") else f" {model['pretrained']}"
    zero_shot = model["variant"] == ZERO_SHOT
    tuned = "zero-shot" if zero_shot else f"fine-tuned by {model['checkpoint']}"
    limit = (
        ", which has seen drawn scenes only: films need a model such as ViT-B-32-quickgelu openai"
        if model["weights"] in OF_THE_SAMPLE
        else ""
    )
    return f"{model['model']}{weights}, {tuned}{limit}"
