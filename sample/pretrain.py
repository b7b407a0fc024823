"""Pre-train the sample's model: contrastive learning of pictures and captions, as CLIP's.

    python -m sample.pretrain            about half an hour on two cores; writes sample/model

The model is open_clip's own, built like ViT-B/32 but small, in the folder layout that open_clip
loads as `local-dir:sample/model`. Captions say what is in a picture and where, never how it is
shown: what the ratings of the sample's videos depend on, it cannot have learned here.
"""

import argparse
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop, resize
from tqdm import tqdm

from hlclip.system import replacing, write_json
from sample.snapshots import snapshot

SIZE = 64
MODEL: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": SIZE,
        "patch_size": 16,
        "width": 128,
        "layers": 6,
        "head_width": 32,
    },
    # The tokenizer is CLIP's own: nearly all weights are its embedding, hence the narrow tower.
    "text_cfg": {
        "context_length": 20,
        "vocab_size": 49408,
        "width": 48,
        "heads": 4,
        "layers": 4,
    },
}
PREPROCESS: dict[str, Any] = {
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
BATCH = 256
PEAK_LR = 1e-3
WARMUP_STEPS = 100
HELD_OUT = 2**40
"""Seeds from here on are never trained on."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("sample/model"))
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = CLIP(**MODEL)
    pretrain(model, steps=arguments.steps)
    save(model, arguments.out)
    print(
        f"retrieval among 500 held-out pictures: {retrieval(model):.1%} of captions find theirs "
        "among the first ten"
    )


def pretrain(model: CLIP, *, steps: int) -> None:
    """CLIP's symmetric cross entropy over `steps` batches of new pictures."""
    decay = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        lr=PEAK_LR,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1, (step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))
        ),
    )
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    model.train()
    with ThreadPoolExecutor(1) as painter, tqdm(total=steps, unit="batch") as bar:
        upcoming = painter.submit(draw, 0, BATCH)
        for step in range(steps):
            images, captions = upcoming.result()
            upcoming = painter.submit(draw, (step + 1) * BATCH, BATCH)
            image = model.encode_image(images, normalize=True)
            text = model.encode_text(tokenizer(captions), normalize=True)
            logits = model.logit_scale.exp() * image @ text.T
            own = torch.arange(BATCH)
            loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            bar.update()
            bar.set_postfix(loss=f"{loss.item():.3f}")


def draw(first_seed: int, count: int) -> tuple[Tensor, list[str]]:
    """Pictures of consecutive seeds as the image tower takes them, float32 [count, 3, 64, 64]."""
    drawn = [snapshot(np.random.default_rng(first_seed + i)) for i in range(count)]
    pictures = torch.from_numpy(np.stack([picture for picture, _ in drawn])).permute(0, 3, 1, 2)
    pictures = center_crop(resize(pictures, [SIZE], antialias=True), [SIZE, SIZE])
    mean, std = (torch.tensor(PREPROCESS[name]).view(3, 1, 1) for name in ("mean", "std"))
    return (pictures / 255 - mean) / std, [caption for _, caption in drawn]


@torch.inference_mode()
def retrieval(model: CLIP, *, pictures: int = 500, rank: int = 10) -> float:
    """Share of held-out captions whose picture is among the `rank` nearest of `pictures`."""
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL["text_cfg"]["context_length"])
    images, captions = draw(HELD_OUT, pictures)
    image = model.eval().encode_image(images, normalize=True)
    text = model.encode_text(tokenizer(captions), normalize=True)
    nearest = (text @ image.T).topk(rank).indices
    return float((nearest == torch.arange(pictures)[:, None]).any(1).float().mean())


def save(model: CLIP, folder: Path) -> None:
    """Write config and weights (float16) in open_clip's layout."""
    write_json(folder / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS})
    weights = {name: tensor.half().contiguous() for name, tensor in model.state_dict().items()}
    with replacing(folder / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary)


if __name__ == "__main__":
    main()
