"""score: cosines of every clip with its query, zero-shot and fine-tuned."""

from pathlib import Path

from hlclip.formats import (
    ZERO_SHOT,
    Index,
    Manifest,
    SplitScores,
    fine_tuned,
    is_fine_tuned,
    read_facts,
)
from hlclip.model import load_tail, pick_device, pretrained_tail, within_memory
from hlclip.params import EncoderParams, Split, TrainParams
from hlclip.training import CachedQueries, score_bytes, score_queries


@within_memory()
def score_splits(
    index: Index,
    images: Manifest,
    texts: Manifest,
    encoder: EncoderParams,
    params: TrainParams,
    splits: list[Split],
    *,
    store: Path,
    checkpoint: Path,
) -> dict[str, SplitScores]:
    """Score the splits with the pretrained tail and, unless zero-shot, the checkpoint's.

    Two batches of videos are in memory at once, and the cosines of all queries.

    Args:
        params: device and batch are used as in training.

    Returns:
        split -> float32 cosines of `zero-shot` and of the `fine_tuned` variant.
    """
    device = pick_device(params.device)
    weights = str(images.header["weights"])
    facts = read_facts(checkpoint)
    trained = facts["train"]
    tuned = fine_tuned(trained["blocks"], trained["temporal"]) if is_fine_tuned(facts) else None
    tails = {
        variant: pretrained_tail(
            encoder.model, encoder.pretrained, cached_blocks=encoder.cached_blocks, weights=weights
        )
        for variant in ([ZERO_SHOT, tuned] if tuned else [ZERO_SHOT])
    }
    if tuned:
        load_tail(checkpoint, tails[tuned], weights=weights)
    for tail in tails.values():
        tail.to(device).requires_grad_(False)

    scores = {}
    for split in splits:
        queries = CachedQueries(
            index, split, images, texts, store=store, target="mean", device=device
        )
        if device.type == "cuda" and len(queries):
            # Rows may share a video. Each is read once, so the host's memory would gain nothing.
            queries.keep_near(score_bytes(queries, params.batch), ["device"])
        scores[split] = score_queries(
            tails, queries, device=device, batch=params.batch, progress=split
        )
    return scores
