"""Training from the cache against training the whole model from images, and against full blocks."""

import copy
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.pairs import Pair
from hlclip.formats import Annotation, Index, Item, Manifest, Video, VideoInfo
from hlclip.model import Encoder, Tail, autocast, build_tail, untrained_encoder
from hlclip.params import load_params
from hlclip.store import Store, content_key
from hlclip.training import (
    Batch,
    CachedQueries,
    Loss,
    accumulate_gradients,
    load_batches,
    micro_batch_frames,
    set_up_tail,
)

MODEL = "ViT-B-32-quickgelu"
VIDEOS, FRAMES = 8, 75
"""A step: eight queries, each with the 75 frames of a video of 150 s."""
QUERY = "a woman in a red coat talks to the camera while she walks along the beach"
ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


def cases(folder: Path) -> Iterator[Pair]:
    torch.manual_seed(0)
    encoder = untrained_encoder(MODEL, "openai", cached_blocks=2)
    data = Cached(folder, encoder, videos=2 * VIDEOS)
    batch = next(iter(load_batches(data.queries, range(VIDEOS), VIDEOS, device=CPU)))
    images = torch.randn(VIDEOS * FRAMES, 3, 224, 224)
    ids = encoder.tokenizer([QUERY] * VIDEOS)
    for blocks, least in ((2, 6.5), (1, 12.0)):
        tail = build_tail(encoder).train_only(blocks, "all")
        step = Step(tail)
        yield Pair(
            f"training step, {VIDEOS} videos x {FRAMES} frames, blocks={blocks}",
            f"the whole model from images (naive HL-CLIP-{blocks})",
            lambda step=step: step(batch),
            naive_step(encoder, blocks, images, ids, batch),
            least_ratio=least,
            rounds=3,
        )
        if blocks == 2:
            yield Pair(
                "the same step, blocks=2",
                "two full blocks from the same cache",
                lambda step=step: step(batch),
                full_blocks_step(encoder, batch),
                least_ratio=2.7,
                rounds=3,
            )
            plain = load_params(ROOT / "presets/qvhighlights.yaml").train
            with_head = plain.model_copy(update={"temporal": "conv"})
            steps = [Step(set_up_tail(build_tail(encoder), each)) for each in (with_head, plain)]
            for each in steps:  # the pieces of a head are whole videos
                each.frames = FRAMES
            yield Pair(
                "the same step with a temporal head, a video at a time",
                "without the head, a video at a time",
                *(lambda step=step: step(batch) for step in steps),
                least_ratio=1 / 1.05,
                rounds=5,
            )
            every = range(len(data.queries))
            # Copies: what is read next overwrites a batch.
            loaded = [
                copy.deepcopy(b) for b in load_batches(data.queries, every, VIDEOS, device=CPU)
            ]
            yield Pair(
                f"an epoch of {len(loaded)} steps, reading included",
                "its steps alone",
                lambda step=step, every=every: [
                    step(b) for b in load_batches(data.queries, every, VIDEOS, device=CPU)
                ],
                lambda step=step, loaded=loaded: [step(b) for b in loaded],
                least_ratio=1 / 1.05,
                rounds=8,  # steps differ by a tenth, and what is looked for is less
            )


class Step:
    """hlclip's own training step, with the preset's settings."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self.optimizer = torch.optim.AdamW([p for p in tail.parameters() if p.requires_grad])
        preset = load_params(ROOT / "presets/qvhighlights.yaml").train
        self.frames = micro_batch_frames(preset.micro_batch, CPU, 1)

    def __call__(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        accumulate_gradients(
            self.tail,
            Loss("mse", "literal"),
            batch,
            frames=self.frames,
            autocast=autocast(CPU, "fp32"),
        )
        self.optimizer.step()


class Cached:
    """Random activations of the encoder's shape in a real store, as a train split.

    Args:
        folder: holds the store.
        encoder: gives the shapes.
        videos: how many are in the store.
        queries: rows of the split, which name the videos by turns; one each by default.
        frames: of a video.
        device: see `CachedQueries`.
    """

    def __init__(
        self,
        folder: Path,
        encoder: Encoder,
        *,
        videos: int,
        queries: int | None = None,
        frames: int = FRAMES,
        device: torch.device | None = None,
    ) -> None:
        random = np.random.default_rng(0)
        image_header = {"tower": "image", "dtype": "float16"}
        text_header = {"tower": "text", "dtype": "float16"}
        shape = (frames, *encoder.image_shape)
        self.store = folder / "store"
        images = Store(self.store, "images", image_header)
        items: dict[str, Item] = {}
        for number in range(videos):

            def tokens() -> np.ndarray:
                return random.standard_normal(shape, np.float32).astype(np.float16)

            vid = f"v{number}"
            items[vid] = images.get_or_make(content_key(image_header, vid), tokens)
        if encoder.tokenizer is None:
            words = random.standard_normal(encoder.text.shape, np.float32).astype(np.float16)
        else:
            words = encoder.text_tokens(QUERY).numpy().astype(np.float16)
        text = Store(self.store, "texts", text_header).get_or_make(
            content_key(text_header, QUERY), lambda: words
        )
        rows = [
            Annotation.model_validate(
                {
                    "qid": number,
                    "vid": f"v{number % videos}",
                    "query": QUERY,
                    "duration": 2 * frames,
                    "relevant_clip_ids": [1, 2],
                    "saliency_scores": [[4, 3, 2], [1, 0, 4]],
                }
            )
            for number in range(queries or videos)
        ]
        found = {vid: Video(f"{vid}.mp4", vid, VideoInfo(150.0, 64, 64, "h264")) for vid in items}
        self.items = items
        self.images = images
        self.split = partial(
            CachedQueries,
            Index(2.0, {"train": rows}, found, {}),
            "train",
            Manifest(dict(image_header), items, {}),
            Manifest(dict(text_header), {QUERY: text}, {}),
            store=self.store,
            target=load_params(ROOT / "params.yaml").train.target,
            device=device,
        )
        self.queries = self.split()


def naive_step(encoder: Encoder, blocks: int, images: Tensor, ids: Tensor, batch: Batch):
    """HL-CLIP as one would write it: every frame through all of CLIP, the query once a frame's
    video; only the last blocks and the heads have gradients."""
    model = encoder.model
    weights = _trained(encoder, blocks)
    optimizer = torch.optim.AdamW(weights)

    def step() -> None:
        _train_only(model, weights)
        seen = model.encode_image(images, normalize=True)
        said = model.encode_text(ids, normalize=True)
        loss = F.mse_loss((seen * said[batch.image_query]).sum(-1), batch.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def full_blocks_step(encoder: Encoder, batch: Batch):
    """From the cache, through open_clip's and timm's own blocks and pools with all their tokens."""
    model = encoder.model
    weights = _trained(encoder, 2)
    optimizer = torch.optim.AdamW(weights)
    text = encoder.text.module

    def step() -> None:
        _train_only(model, weights)
        seen = F.normalize(_image_end(model.visual, batch.image_tokens.float()), dim=-1)
        words = batch.text_tokens.float()
        length = words.shape[1]
        mask = None if text.attn_mask is None else text.attn_mask[:length, :length]
        for block in text.transformer.resblocks[-2:]:
            words = block(words, attn_mask=mask)
        last = text.ln_final(words[torch.arange(len(words)), batch.text_lengths - 1])
        said = text.text_projection
        said = said(last) if isinstance(said, nn.Module) else last @ said
        said = F.normalize(said, dim=-1)
        loss = F.mse_loss((seen * said[batch.image_query]).sum(-1), batch.target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def _image_end(visual: Any, tokens: Tensor) -> Tensor:
    """Two blocks and the head of a ViT of open_clip with a class token, or of timm."""
    if not hasattr(visual, "trunk"):
        for block in visual.transformer.resblocks[-2:]:
            tokens = block(tokens)
        return visual.ln_post(tokens[:, 0]) @ visual.proj
    trunk = visual.trunk
    for block in trunk.blocks[-2:]:
        tokens = block(tokens)
    return visual.head(trunk.forward_head(trunk.norm(tokens)))


def _trained(encoder: Encoder, blocks: int) -> list[Tensor]:
    """The parameters of HL-CLIP with `heads: all`, in the model itself."""
    names = build_tail(encoder).train_only(blocks, "all").trained()
    return [p for name, p in encoder.model.named_parameters() if name in names]


def _train_only(model: nn.Module, weights: list[Tensor]) -> None:
    model.requires_grad_(False)
    for weight in weights:
        weight.requires_grad_(True)
