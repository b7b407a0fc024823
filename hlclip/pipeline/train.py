"""train: HL-CLIP's fine-tuning of the tail of both towers, from the cache alone."""

import hashlib
import json
import logging
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from hlclip.evaluation import (
    FOCUS,
    Setting,
    complete,
    ground_truth,
    has_truth,
    headline,
    pool_padded,
)
from hlclip.formats import Annotation, CheckpointError, Index, Manifest, fine_tuned, read_facts
from hlclip.model import Tail, pretrained_tail, save_tail, within_memory
from hlclip.params import EncoderParams, TrainParams, trains
from hlclip.system import write_whole
from hlclip.training import (
    CachedQueries,
    Ranks,
    TrainError,
    Validate,
    fit_tail,
    joined,
    launch,
    score_queries,
    set_up_tail,
    write_history,
)

log = logging.getLogger(__name__)

TRAINING_VERSION = 2
"""Part of every result's key: raise it when a change of code alters the trained weights."""


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

    Where nothing trains (`hlclip.params.trains`) the checkpoint is empty: zero-shot CLIP. The
    store keeps each result under a key of everything that it depends on, so that no training is
    computed twice. With several processes this one starts them, or is one that `torchrun` started;
    the first writes the files.

    At most four batches of videos are in memory at once, two of train and two of val, see
    `load_batches`; on CUDA also a whole split where its memory, or half of the machine's, has room.

    Raises:
        TrainError: no row of the train split has a video, one has no ground truth, or the loss is
            not finite.
        EncoderError: the weights are not those that made the cache.
        StoreError: cached activations are missing or damaged.
        ProcessesError: a process ended, or `torchrun` started another number.
    """
    facts: dict[str, Any] = {
        "hlclip": version("hlclip"),
        **{name: images.header[name] for name in ("model", "pretrained", "weights")},
        "cached_blocks": encoder.cached_blocks,
        "dtype": encoder.dtype,
        "clip_seconds": index.clip_seconds,
        "train": params.facts(),
        "history": [],
    }
    # The header leaves out absolute paths and files, which a score has to find again.
    given = {"model": encoder.model, "pretrained": encoder.pretrained or "none"}
    if given := {name: value for name, value in given.items() if value != facts[name]}:
        facts["given"] = given
    with joined(params.processes) as ranks:
        if trains(encoder, params):
            device = ranks.device(params.device)
            key = _result_key(index, images, texts, encoder, params, device)
            result = store / "training" / f"{key}.safetensors"
            make = partial(
                _make_result, index, images, texts, encoder, params, facts, result, history
            )
            if not ranks.agreed(_is_whole(result)):
                make() if ranks.count == params.processes else launch(params.processes, make)
            if ranks.first:
                write_whole(checkpoint, result.read_bytes())
        elif ranks.first:
            save_tail(checkpoint, {}, facts)
        if ranks.first:
            write_history(history, read_facts(checkpoint)["history"])


@within_memory()
def _make_result(
    index: Index,
    images: Manifest,
    texts: Manifest,
    encoder: EncoderParams,
    params: TrainParams,
    facts: dict[str, Any],
    result: Path,
    history: Path,
) -> None:
    """Fine-tune, as one of `params.processes`, and write the file `result` in the store."""
    with joined(params.processes) as ranks:
        device = ranks.device(params.device)
        tail = pretrained_tail(
            encoder.model,
            encoder.pretrained,
            cached_blocks=encoder.cached_blocks,
            weights=str(images.header["weights"]),
        ).to(device)
        set_up_tail(tail, params)
        store = result.parents[1]
        cached = partial(
            CachedQueries, store=store, target=params.target, device=device, ranks=ranks
        )
        train = cached(index, "train", images, texts)
        val = cached(index, "val", images, texts) if "val" in index.queries else None
        _check_rows(train)
        validate = _validator(val, params, device, ranks) if val else None
        if validate is None and params.select == "best":
            log.warning("val cannot be measured: the last epoch is kept, not the best on val")
        log.info("activations of train are kept on %s", train.location)
        resume = result.with_suffix(".pt")
        state = fit_tail(
            tail,
            train,
            params,
            device=device,
            validate=validate,
            resume=resume,
            history=history,
            ranks=ranks,
        )
        if ranks.first:
            facts |= {"chosen": state.history[state.chosen - 1], "history": state.history}
            if state.fitted:
                facts["fitted"] = dict(zip(("scale", "bias"), state.fitted, strict=True))
            save_tail(result, state.chosen_tensors, facts)
            resume.unlink(missing_ok=True)


def _check_rows(train: CachedQueries) -> None:
    """Refuse a train split without rows, or with rows that have nothing to train on."""
    if len(train) == 0:
        raise TrainError("no row of the train split has a cached video to train on")
    blind = [row.qid for row in train.rows if not (_rated(row) or row.relevant_windows)]
    if blind:
        raise TrainError(
            f"{len(blind)} of {len(train)} rows of train have neither saliency_scores nor "
            f"relevant_windows to train on, first qid {blind[0]!r}",
            "add them, or do not train",
            settings={
                "train.blocks": "0",
                "train.heads": "frozen",
                "train.temporal": "none",
            },
        )
    if train.absent:
        log.warning("train: %d rows without video are left out", train.absent)


def _is_whole(result: Path) -> bool:
    """Is this training in the store already? A damaged result is named and made again."""
    if not result.exists():
        return False
    try:
        read_facts(result)
    except CheckpointError as error:
        log.warning("%s; training begins again", error.reason)
        return False
    log.info("this training is in the store already: taken from %s", result)
    return True


def _validator(
    val: CachedQueries, params: TrainParams, device: torch.device, ranks: Ranks
) -> Validate | None:
    """Measures a tail on val, as `score` and `evaluate` do; None without ground truth.

    `select_on: pooled` has the figures of `pool.window` at `select_window`, with mode `mean` and
    border `neighbours`.
    """
    if not has_truth(val.every_row):
        return None
    truth = ground_truth(val.every_row)
    name = fine_tuned(params.blocks, params.temporal)
    window = params.select_window if params.select_on == "pooled" else 1

    def validate(tail: Tail) -> tuple[float, float | None]:
        scores = score_queries({name: tail}, val, device=device, batch=params.batch, ranks=ranks)
        cosines = pool_padded(scores.cosines[name], scores.lengths, window)
        cosines = complete(cosines, scores.lengths, scores.clips)
        return headline(val.every_row, truth, cosines, Setting("consensus", FOCUS))

    return validate


def _rated(row: Annotation) -> bool:
    return row.saliency_scores is not None


def _result_key(
    index: Index,
    images: Manifest,
    texts: Manifest,
    encoder: EncoderParams,
    params: TrainParams,
    device: torch.device,
) -> str:
    """A hash of everything that the result depends on; TRAINING_VERSION stands for the code."""
    rows = {
        split: [row.model_dump(mode="json") for row in index.queries.get(split, [])]
        for split in ("train", "val")
    }
    facts = [
        rows,
        # Reasons of failure are messages: they do not change what is trained.
        images.as_json() | {"failed": {}},
        texts.as_json() | {"failed": {}},
        encoder.model_dump(include={"model", "pretrained", "cached_blocks"}),
        params.facts(),
        version("torch"),
        device.type,
        TRAINING_VERSION,
    ]
    if not all(map(_rated, index.queries["train"])):
        facts.append("targets from windows")  # version 2 trained such rows to 0
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:40]
