"""train: HL-CLIP's fine-tuning of the tail of both towers, from the cache alone."""

import hashlib
import json
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hlclip.evaluation import ground_truth, highlight_metrics, pad
from hlclip.formats import Index, Manifest
from hlclip.model import Tail, autocast, pick_device, pretrained_tail, save_tail
from hlclip.params import EncoderParams, TrainParams
from hlclip.training import (
    CachedQueries,
    TrainError,
    Validate,
    cached_queries,
    fit_tail,
    score_queries,
    write_history,
)

log = logging.getLogger(__name__)


def train_tail(
    index: Index,
    images: Manifest,
    texts: Manifest,
    encoder: EncoderParams,
    params: TrainParams,
    *,
    store: Path,
    checkpoint: Path,
    history: Path,
) -> None:
    """Fine-tune and write the checkpoint and its history.

    With `params.blocks` 0 the checkpoint is empty: zero-shot CLIP.

    The videos of at most four batches are held at once, two of train and two of val (`batches`); on
    CUDA also a whole split where its memory, or half of the machine's, has room (`residence`).

    Raises:
        TrainError: no row of the train split has a video, or the loss is not finite.
        EncoderError: the weights are not those that made the cache.
        StoreError: cached activations are missing or damaged.
    """
    facts: dict[str, Any] = {
        "hlclip": version("hlclip"),
        **{name: images.header[name] for name in ("model", "pretrained", "weights")},
        "cached_blocks": encoder.cached_blocks,
        "clip_seconds": index.clip_seconds,
        "train": params.model_dump(exclude={"device"}),
    }
    if params.blocks == 0:
        write_history(history, [])
        save_tail(checkpoint, {}, facts)
        return
    # Before anything is imported that only some runs need: the key covers the code that is loaded.
    resume = store / "training" / f"{_run_key(index, images, texts, encoder, params)}.pt"
    device = pick_device(params.device)
    tail = pretrained_tail(
        encoder.model,
        encoder.pretrained,
        cached_blocks=encoder.cached_blocks,
        weights=str(images.header["weights"]),
    ).to(device)
    tail.train_only(params.blocks, params.heads)

    def split(name: str) -> CachedQueries:
        return cached_queries(index, name, images, texts, store=store, target=params.target)

    queries = split("train")
    if len(queries) == 0:
        raise TrainError("no row of the train split has a cached video: nothing to train on")
    log.info("activations of train live on %s", queries.keep_in_memory(device))
    if queries.absent:
        log.warning("train: %d rows without video are left out", queries.absent)
    val = split("val") if "val" in index.queries else None
    if val is not None and len(val):
        val.keep_in_memory(device)
    done = fit_tail(
        tail,
        queries,
        params,
        device=device,
        validate=_validator(val, params, device) if val is not None and len(val) else None,
        resume=resume,
        history=history,
    )
    facts["chosen"] = done.history[done.chosen - 1]
    save_tail(checkpoint, done.chosen_tensors, facts)
    write_history(history, done.history)
    resume.unlink(missing_ok=True)


def _validator(val: CachedQueries, params: TrainParams, device: torch.device) -> Validate | None:
    if any(row.saliency_scores is None for row in val.rows):
        return None
    truth = ground_truth(val.rows, val.clip_seconds)

    def validate(tail: Tail) -> tuple[float, float]:
        found = score_queries(
            {"val": tail},
            val,
            device=device,
            batch=params.batch,
            autocast=autocast(device, params.precision),
        )
        figures = highlight_metrics(truth, *pad(found["val"]))["HL-min-VeryGood"]
        return figures["HL-mAP"], figures["HL-Hit1"]

    return validate


def _run_key(
    index: Index, images: Manifest, texts: Manifest, encoder: EncoderParams, params: TrainParams
) -> str:
    """Names a training run by all it depends on, the code that is loaded for it included."""
    code = hashlib.sha256()
    for name in sorted(name for name in sys.modules if name.split(".")[0] == "hlclip"):
        code.update(Path(str(sys.modules[name].__file__)).read_bytes())
    rows = {
        split: [row.model_dump(mode="json") for row in index.queries.get(split, [])]
        for split in ("train", "val")
    }
    facts = [
        rows,
        images.as_json(),
        texts.as_json(),
        encoder.model_dump(),
        params.model_dump(),
        version("torch"),
        pick_device(params.device).type,
        code.hexdigest(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]
