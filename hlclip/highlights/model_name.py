"""The model of a scorer in words."""

from pathlib import Path

from hlclip.formats import ZERO_SHOT, read_facts
from hlclip.highlights.model_cache import ModelFacts

OF_THE_SAMPLE = (
    "936dc720c0b642f390203b6fef081014a87a851b87b88c9bf3f0253d6e5ac83b",
    "3b18ea8a2e0a195e931308c5c1f5dcaae1fe3e4a50a0106c9b34f9b1dc6818c2",
)
"""Fingerprints of the models that come with hlclip, sample/model and sample/model-gap."""


def model_name(
    facts: ModelFacts, checkpoint: Path | None, model: str | None, pretrained: str | None
) -> str:
    """Model, weights and checkpoint, and the limit of the models that come with hlclip.

    Args:
        checkpoint, model, pretrained: as `load_scorer` has them.
    """
    if model is None and checkpoint is not None:
        trained = read_facts(checkpoint)
        model, pretrained = str(trained["model"]), str(trained["pretrained"])
    weights = "" if pretrained in (None, "none") else f" {pretrained}"
    tuned = "zero-shot" if facts.variant == ZERO_SHOT else f"fine-tuned by {checkpoint}"
    limit = (
        ", which has seen drawn scenes only: films need a model such as ViT-B-32-quickgelu openai"
        if facts.images["weights"] in OF_THE_SAMPLE
        else ""
    )
    return f"{model}{weights}, {tuned}{limit}"
