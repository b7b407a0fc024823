"""Every model that open_clip knows: taken, and then equal to it, or refused with a reason."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from safetensors.torch import load_file
from torch import Tensor

from hlclip.formats.scores import ZERO_SHOT
from hlclip.model import Encoder, EncoderError, build_tail, load_encoder
from hlclip.model.towers import build_empty, text_pooling
from hlclip.params import DataParams, EncoderParams, FramesParams, load_params
from hlclip.pipeline.activations import make_activations
from hlclip.pipeline.frames import make_frames
from hlclip.pipeline.index import build_index
from hlclip.pipeline.score import score_splits
from hlclip.pipeline.train import train_tail
from hlclip.store.store import Store
from tests.films import film
from tests.models import built, save_model, small_timm, tiny_config
from tests.parity.test_encoder import assert_features_equal, normalised

ROOT = Path(__file__).parents[2]
REASONS = {
    "image tower without ViT blocks": r"the image tower is timm's \S+; only open_clip's",
    "ResNet": r"the image tower is a ModifiedResNet; only open_clip's VisionTransformer",
    "image size": r"its config says images of 256x256, but its image tower takes 384x384",
    "text tower of transformers": r"the text tower is \S+ of transformers; only open_clip's own",
    "CoCa": r"is a CoCa model: it pools by attention",
}


def config_of(name: str) -> dict[str, Any]:
    config = open_clip.get_model_config(name)
    assert config is not None
    return config


def timm_name(name: str) -> str:
    return config_of(name)["vision_cfg"].get("timm_model_name", "")


def few_layers(name: str) -> dict[str, Any]:
    """A built-in model at its real widths, with two cached blocks and one in the trunk.

    Towers of transformers, ResNets, and those of timm that are no ViT keep their depth.
    """
    config = config_of(name)
    timm = timm_name(name)
    if timm and not re.search("vitamin|mci", timm) and not NOT_VIT.search(timm):
        config["vision_cfg"]["timm_model_name"] = small_timm(timm, depth=3)
    for tower in ("vision_cfg", "text_cfg"):
        if isinstance(config[tower].get("layers"), int):
            config[tower]["layers"] = 3
    return config


def verdict(name: str) -> str:
    """Taken, or the reason of refusal, from a model of real shape without memory."""
    try:
        Encoder(build_empty(few_layers(name), name), None, name=name, cached_blocks=2)
    except EncoderError as error:
        message = str(error)
        (reason,) = [key for key, says in REASONS.items() if re.match(f"{name}: {says}", message)]
        return reason
    needs = config_of(name)["text_cfg"].get("hf_tokenizer_name")
    image = "taken, image tower of timm" if timm_name(name) else "taken"
    return f"{image}, tokenizer of transformers" if needs else image


@pytest.mark.slow
def test_every_model_is_taken_or_refused_by_name():
    verdicts = {name: verdict(name) for name in open_clip.list_models()}
    for name, found in verdicts.items():
        assert found.startswith("taken") == (name in TAKEN), name
    documented = dict(
        re.findall(r"^\| (.+?) \| (\d+) \|", (ROOT / "docs/weights.md").read_text(), re.MULTILINE)
    )
    version = re.search(r"open_clip (\d+\.\d+\.\d+)", (ROOT / "docs/weights.md").read_text())
    assert version is not None
    if version[1] == open_clip.__version__:
        counts = Counter(verdicts.values())
        assert {key: int(count) for key, count in documented.items()} == counts


NOT_VIT = re.compile("convnext|fastvit|swin|relpos|vitamin_xlarge_384")
"""timm's towers that are refused, by name; hlclip looks at their parts."""
TAKEN = [
    name
    for name in open_clip.list_models()
    if not isinstance(config_of(name)["vision_cfg"].get("layers"), list)
    and not NOT_VIT.search(timm_name(name))
    and "hf_model_name" not in config_of(name)["text_cfg"]
    and "multimodal_cfg" not in config_of(name)
]


def shrunk(config: dict[str, Any], *, width: int | None = 64) -> dict[str, Any]:
    """The same model with few, narrow layers: all that is not a size stays.

    Args:
        width: of timm's image tower; None leaves it. Its image size stays.
    """
    vision = dict(config["vision_cfg"])
    if tower := vision.get("timm_model_name"):
        narrow = width and not re.search("vitamin|mci", tower)  # their convolutions have widths too
        sizes = {"embed_dim": width, "num_heads": 2} if narrow else {}
        vision["timm_model_name"] = small_timm(tower, depth=3, **sizes)
    else:
        patch = vision["patch_size"]
        vision |= {"layers": 3, "width": 32, "head_width": 16, "image_size": 3 * patch}
    text = {**config["text_cfg"], "layers": 3, "width": 32, "heads": 2, "vocab_size": 1000}
    # Without a projection the image tower's width is the embedding's.
    embedding = width or config["embed_dim"] if vision.get("timm_proj") == "none" else 24
    return {**config, "embed_dim": embedding, "vision_cfg": vision, "text_cfg": text}


def letters(context: int, end: int):
    """A tokenizer without files: a letter is a token, `end` follows, then padding."""

    def tokenize(texts: list[str], context_length: int = context) -> Tensor:
        ids = torch.zeros(len(texts), context_length, dtype=torch.long)
        for row, text in zip(ids, texts, strict=True):
            tokens = [*(10 + ord(letter) % 900 for letter in text[: context_length - 1]), end]
            row[: len(tokens)] = torch.tensor(tokens)
        return ids

    return tokenize


def encoder_of(model: CLIP | CustomTextCLIP, name: str, *, cached_blocks: int = 2) -> Encoder:
    visual: Any = model.visual
    size = visual.image_size[0]
    constants = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.25)}
    open_clip.model.set_model_preprocess_cfg(
        model, {**constants, "size": size, "interpolation": "bicubic", "resize_mode": "shortest"}
    )
    encoder = Encoder(model, None, name=name, cached_blocks=cached_blocks)
    pool, eos_id = text_pooling(encoder.text.module)
    encoder.tokenizer = letters(encoder.text.shape[0], eos_id if pool == "eos" else 999)
    return encoder


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in TAKEN if not re.match("ViTamin-X?L", n)])
def test_a_model_that_is_taken_equals_open_clips(name: str):
    encoder = encoder_of(built(shrunk(config_of(name))), name)
    size = encoder.preprocess.size
    frames = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    assert encoder.image_tokens(frames, batch=2).shape == (2, *encoder.image_shape)
    causal = not config_of(name)["text_cfg"].get("no_causal_mask", False)
    assert len(encoder.text_tokens("a dog")) == (6 if causal else encoder.text.shape[0])
    assert_features_equal(encoder, frames, tolerance=1e-6)


REAL = {
    "ViT-B-32-quickgelu": None,
    "ViT-B-32-SigLIP2-256": None,
    "ViT-B-16-SigLIP": None,
    "PE-Core-T-16-384": None,
    "PE-Core-B-16": None,
    "EVA02-B-16": None,
    "MobileCLIP2-B": None,
    "ViT-SO400M-14-SigLIP2": 144,
    "MobileCLIP2-L-14": 128,
    "ViT-H-14": 32,
}
"""Model -> width of the image tower where it is made narrow; None is the real width."""


WB = ("weight", "bias")
ONCE = [(name, 2) for name in REAL]
FEWER = [(name, blocks) for name in ("PE-Core-T-16-384", "MobileCLIP2-L-14") for blocks in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "cached_blocks"), ONCE + FEWER)
def test_every_gradient_equals_the_full_models(name: str, cached_blocks: int):
    """In float32, within 1e-5 of the largest gradient of each tower."""
    config = shrunk(config_of(name), width=REAL[name])
    if name.startswith("ViT-B-32-quick"):
        config["vision_cfg"] |= {"width": 768, "head_width": 64, "image_size": 224}
    model = built(config)
    encoder = encoder_of(model, name, cached_blocks=cached_blocks)
    size = encoder.preprocess.size
    frames = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    weights = torch.randn(3, config["embed_dim"], generator=torch.Generator().manual_seed(2))
    tail = build_tail(encoder).train_only(cached_blocks, "all")
    texts = [encoder.text_tokens(query).clone() for query in ("a dog", "a cat on a mat", "x")]
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1e3)
    image = tail.image(encoder.image_tokens(frames, batch=2).clone())
    text = tail.text(padded, torch.tensor([len(tokens) for tokens in texts]))
    ((image * weights[:2]).sum() + (text * weights).sum()).backward()

    ours = tail.trained()
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in ours)
    ids = encoder.tokenizer(["a dog", "a cat on a mat", "x"])
    full_image = model.encode_image(normalised(encoder, frames), normalize=True)
    full_text = model.encode_text(ids, normalize=True)
    ((full_image * weights[:2]).sum() + (full_text * weights).sum()).backward()
    torch.testing.assert_close(image, full_image, atol=1e-6, rtol=0)
    torch.testing.assert_close(text, full_text, atol=1e-6, rtol=0)
    theirs = {n: p.grad for n, p in model.named_parameters() if n in ours}
    assert len(theirs) == len(ours)
    for tower in (True, False):
        of = {n: g for n, g in theirs.items() if n.startswith("visual") == tower}
        largest = max(float(g.abs().max()) for g in of.values() if g is not None)
        for key, gradient in of.items():
            mine = ours[key].grad
            assert gradient is not None, key
            assert mine is not None, key
            assert (mine - gradient).abs().max() <= 1e-5 * largest, key


# From films to scores


def tiny_timm(tower: str, image: dict[str, Any], text: dict[str, Any]) -> dict[str, Any]:
    """A tower of timm made tiny, by a config as open_clip has for its real size."""
    timm = small_timm(tower, depth=3, img_size=32, embed_dim=32, num_heads=2)
    config = tiny_config()
    vision = {"timm_model_name": timm, "image_size": 32, **image}
    sizes = {**config["text_cfg"], "layers": 3, **text}
    plain = {"quick_gelu": False, "custom_text": True}
    return {**config, **plain, "embed_dim": 32, "vision_cfg": vision, "text_cfg": sizes}


def like_siglip() -> dict[str, Any]:
    """timm's ViT pools by attention; the text is read in both directions, its last token pooled."""
    both = {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
    text = {**both, "norm_kwargs": {"eps": 1e-6}}
    image = {"timm_pool": "map", "timm_proj": "none"}
    return tiny_timm("vit_base_patch16_siglip_224", image, text) | {"init_logit_bias": -10}


BACKBONES = {
    "ViT-B-16": (few_layers("ViT-B-16-quickgelu"), "shortest", (197, 768), 512),
    "like SigLIP": (like_siglip(), "squash", (4, 32), 32),
    "like SigLIP, heads alone": (like_siglip(), "squash", (4, 32), 32),
    "like PE-Core": (
        tiny_timm("vit_pe_core_base_patch16_224", {"timm_pool": "map"}, {}),
        "squash",
        (5, 32),
        32,
    ),
}


def test_the_heads_by_name():
    model = built(like_siglip())
    tail = build_tail(encoder_of(model, "like SigLIP", cached_blocks=1))
    blocks = set(tail.train_only(1, "frozen").trained())
    assert {name.split(".resblocks.")[0].split(".blocks.")[0] for name in blocks} == {
        "visual.trunk",
        "text.transformer",
    }

    def heads(name: Any) -> set[str]:
        return set(tail.train_only(1, name).trained()) - blocks

    norms = {f"{n}.{kind}" for n in ("visual.trunk.norm", "text.ln_final") for kind in WB}
    pool = {n for n, _ in model.named_parameters() if n.startswith("visual.trunk.attn_pool.")}
    projections = {f"text.text_projection.{kind}" for kind in WB}
    assert heads("norm") == norms
    assert heads("pool") == pool
    assert heads("projection") == projections  # of the text alone: the pool ends the image tower
    assert heads("all") == norms | pool | projections
    assert len(pool) == 13


def test_a_pooling_head_that_is_not_there_is_refused():
    tail = build_tail(encoder_of(built(tiny_config()), "tiny"))
    with pytest.raises(EncoderError, match=r"(?s)no pooling head.*-S train\.heads=all"):
        tail.train_only(2, "pool")


def data_set(root: Path) -> DataParams:
    """Two films of six seconds, a train and a val row."""
    (root / "videos").mkdir(parents=True)
    for number, split in enumerate(("train", "val")):
        film(root / "videos" / f"{split}.mp4", size=("96x64", "64x96")[number])
        row = {"qid": number, "vid": split, "query": f"a picture that moves, {split}"}
        rated = {"relevant_clip_ids": [1], "saliency_scores": [[4, 4, 3]]}
        (root / f"{split}.jsonl").write_text(json.dumps({**row, "duration": 6, **rated}) + "\n")
    params = load_params(ROOT / "params.yaml").data
    splits = {"train": "train.jsonl", "val": "val.jsonl"}
    return params.model_copy(update={"root": str(root), "annotations": splits})


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_the_stages_take_the_backbone(tmp_path: Path, name: str):
    config, resize, image_shape, text_width = BACKBONES[name]
    blocks = 0 if "heads alone" in name else 2
    name = save_model(tmp_path / "model", config, resize_mode=resize)
    size = config["vision_cfg"]["image_size"]
    index = build_index(data_set(tmp_path / "data"), cache=tmp_path / "hashes")
    shape = {"size": size, "resize": resize, "interpolation": "bicubic", "decoder": "ffmpeg"}
    pictures = FramesParams.model_validate(shape)
    store = tmp_path / "store"
    frames = make_frames(index, pictures, data_root=tmp_path / "data", max_missing=0, store=store)
    model = {"model": name, "pretrained": None, "cached_blocks": blocks}
    params = EncoderParams.model_validate({**model, "dtype": "float32", "batch": 2})
    images, texts = make_activations(index, frames, params, store=store)
    for item in images.items.values():
        assert Store(store, "images", images.header).read(item).shape == (3, *image_shape)
    for item in texts.items.values():
        assert Store(store, "texts", texts.header).read(item).shape[1] == text_width

    settings = load_params(ROOT / "params.yaml").train.model_copy(
        update={
            "blocks": blocks,
            "epochs": 1,
            "batch": 1,
            "lr": 1e-3,
            "precision": "fp32",
            "device": "cpu",
        }
    )
    checkpoint = tmp_path / "tail.safetensors"
    train_tail(
        index, images, texts, params, settings,
        store=store, checkpoint=checkpoint, history=tmp_path / "history.csv",
    )  # fmt: skip
    scores = score_splits(
        index, images, texts, params, settings, ["val"], store=store, checkpoint=checkpoint
    )["val"]

    full = load_encoder(params.model, None, cached_blocks=2)
    shown = Store(store, "frames", frames.header).read(frames.items["val"])
    (row,) = index.queries["val"]

    def expected() -> Tensor:
        with torch.no_grad():
            image = full.model.encode_image(normalised(full, shown), normalize=True)
            text = full.model.encode_text(full.tokenizer([row.query]), normalize=True)
        return (image @ text.T)[:, 0]

    torch.testing.assert_close(
        torch.tensor(scores.cosines[ZERO_SHOT][0]), expected(), atol=2e-6, rtol=0
    )
    tuned = load_file(checkpoint)
    full.model.load_state_dict(tuned, strict=False)
    torch.testing.assert_close(
        torch.tensor(scores.cosines[f"HL-CLIP-{blocks}"][0]), expected(), atol=2e-6, rtol=0
    )
    assert not np.array_equal(scores.cosines[f"HL-CLIP-{blocks}"], scores.cosines[ZERO_SHOT])
