"""Trunk + tail equal open_clip's full towers; the absorbed block equals the full block."""

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hlclip.model import Encoder, EncoderError, build_tail, load_encoder
from tests.models import save_model, tiny_config

QUERIES = ["a dog runs on the beach", "x", "a very long query " * 30, "Ein Hund; 犬 🐕"]

VISION = {
    "class token": {},
    "average pooling": {"pool_type": "avg"},
    "norm after average pooling": {"pool_type": "avg", "final_ln_after_pool": True},
    "layer scale": {"ls_init_value": 0.1},
    "no pre-norm": {"no_ln_pre": True},
}


def normalised(encoder: Encoder, frames: np.ndarray) -> Tensor:
    """Frames as torchvision's ToTensor and Normalize make them."""
    config = encoder.preprocess
    images = torch.tensor(frames).permute(0, 3, 1, 2) / 255
    return (images - torch.tensor(config.mean).view(3, 1, 1)) / torch.tensor(config.std).view(
        3, 1, 1
    )


def assert_features_equal(encoder: Encoder, frames: np.ndarray, tolerance: float) -> None:
    tail = build_tail(encoder)
    texts = [encoder.text_tokens(query) for query in QUERIES]
    lengths = torch.tensor([len(tokens) for tokens in texts])
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1e3)
    with torch.no_grad():
        image = tail.image(encoder.image_tokens(frames, batch=3))
        text = tail.text(padded, lengths)
        full_image = F.normalize(encoder.model.encode_image(normalised(encoder, frames)), dim=-1)
        full_text = F.normalize(encoder.model.encode_text(encoder.tokenizer(QUERIES)), dim=-1)
    torch.testing.assert_close(image, full_image, atol=tolerance, rtol=0)
    torch.testing.assert_close(text, full_text, atol=tolerance, rtol=0)


@pytest.mark.parametrize("cached_blocks", [1, 2, 3])
@pytest.mark.parametrize("vision", VISION.values(), ids=VISION.keys())
def test_trunk_and_tail_equal_the_full_towers(tmp_path: Path, vision: dict, cached_blocks: int):
    name = save_model(tmp_path, tiny_config(vision=vision))
    encoder = load_encoder(name, None, cached_blocks=cached_blocks)
    frames = np.random.default_rng(1).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
    assert_features_equal(encoder, frames, tolerance=1e-6)


@pytest.mark.slow
def test_trunk_and_tail_equal_vit_b_32():
    name = "ViT-B-32-quickgelu"
    torch.manual_seed(0)
    encoder = Encoder(
        open_clip.create_model(name), open_clip.get_tokenizer(name), name=name, cached_blocks=2
    )
    frames = np.random.default_rng(1).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)
    assert encoder.image_tokens(frames, batch=4).shape == (4, 50, 768)
    assert_features_equal(encoder, frames, tolerance=1e-6)


def test_tokens_behind_the_pooled_one_are_not_cached(tmp_path: Path):
    encoder = load_encoder(save_model(tmp_path, tiny_config()), None, cached_blocks=2)
    ids = encoder.tokenizer(["a dog"])[0].tolist()
    assert encoder.text_tokens("a dog").shape == (ids.index(49407) + 1, 32)
    assert encoder.text_tokens("dog " * 99).shape == (16, 32)  # truncated, end of text kept


def test_a_query_that_is_cut_off_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    encoder = load_encoder(save_model(tmp_path, tiny_config()), None, cached_blocks=2)
    encoder.text_tokens("dog " * 14)  # the context of 16 tokens has two marks
    assert caplog.messages == []
    encoder.text_tokens("dog " * 15)
    (message,) = caplog.messages
    assert "the model reads its first 16 tokens" in message


def test_openai_weights_need_quick_gelu(tmp_path: Path):
    with pytest.raises(EncoderError, match=r"-S encoder\.model=ViT-B-32-quickgelu"):
        load_encoder("ViT-B-32", "openai", cached_blocks=2)
    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert config is not None
    assert config["quick_gelu"]
    encoder = load_encoder(save_model(tmp_path, tiny_config()), None, cached_blocks=2)
    x = torch.linspace(-3, 3, 7)
    for tower in (build_tail(encoder).image, build_tail(encoder).text):
        torch.testing.assert_close(tower.blocks[0].mlp.gelu(x), x * torch.sigmoid(1.702 * x))


def test_fingerprint_tells_weights_apart(tmp_path: Path):
    def fingerprint(folder: str, **changes) -> str:
        name = save_model(tmp_path / folder, tiny_config(), **changes)
        return load_encoder(name, None, cached_blocks=2).fingerprint()

    assert fingerprint("a") == fingerprint("b")
    assert fingerprint("a") != fingerprint("c", seed=1)


@pytest.mark.parametrize(
    ("model", "pretrained", "says"),
    [
        ("local-dir:nowhere", None, "nowhere"),
        ("ViT-B-33", "openai", "ViT-B-33"),
        ("ViT-B-32-quickgelu", "no_such_tag", "no_such_tag"),
    ],
)
def test_what_cannot_be_loaded_is_named(model: str, pretrained: str | None, says: str):
    with pytest.raises(EncoderError, match=says):
        load_encoder(model, pretrained, cached_blocks=2)


def resnet() -> open_clip.CLIP:
    config = tiny_config(vision={"layers": (1, 1, 1, 1), "width": 16, "head_width": 16})
    return open_clip.CLIP(**config)


def test_what_cannot_be_cut_is_refused_by_name(tmp_path: Path):
    with pytest.raises(EncoderError, match=r"RN50: the image tower is a ModifiedResNet"):
        Encoder(resnet(), None, name="RN50", cached_blocks=2)
    with pytest.raises(EncoderError, match="cached_blocks is 4, but the image tower has 4 blocks"):
        load_encoder(save_model(tmp_path, tiny_config()), None, cached_blocks=4)
