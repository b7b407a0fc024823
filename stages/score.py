"""score: cosines per clip, zero-shot and fine-tuned, for every evaluated split."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import write_scores
    from hlclip.params import load_params
    from hlclip.pipeline.inputs import activations_input, checkpoint_input
    from hlclip.pipeline.score import score_splits
    from hlclip.store import holding, store_root
    from hlclip.system import sha256_of

    params = load_params()
    with holding(store_root()) as store:
        inputs = activations_input(params)
        checkpoint = checkpoint_input(params, inputs["images"])
        scores = score_splits(
            **inputs,
            encoder=params.encoder,
            params=params.train,
            splits=params.evaluate.splits,
            store=store,
            checkpoint=checkpoint,
        )
        write_scores(
            Path("outputs/score.safetensors"),
            scores,
            checkpoint=sha256_of(checkpoint),
            weights=str(inputs["images"].header["weights"]),
        )


if __name__ == "__main__":
    run(main)
