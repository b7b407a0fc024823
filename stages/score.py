"""score: cosines per clip, zero-shot and fine-tuned, for every evaluated split."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import write_scores
    from hlclip.params import load_params
    from hlclip.pipeline.inputs import activations_input, checkpoint_input
    from hlclip.pipeline.score import score_splits
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        inputs = activations_input(params)
        scores = score_splits(
            **inputs,
            encoder=params.encoder,
            params=params.train,
            splits=params.evaluate.splits,
            store=store,
            checkpoint=checkpoint_input(params, inputs["images"]),
        )
        write_scores(Path("outputs/score.safetensors"), scores)


if __name__ == "__main__":
    run(main)
