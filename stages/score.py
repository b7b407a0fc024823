"""score: cosines per clip, zero-shot and fine-tuned, for every evaluated split."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import read_index, read_manifests, write_scores
    from hlclip.params import load_params
    from hlclip.pipeline.score import score_splits
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        scores = score_splits(
            read_index(Path("outputs/index.json")),
            **read_manifests(Path("outputs/activations.json"), "images", "texts"),
            encoder=params.encoder,
            params=params.train,
            splits=params.evaluate.splits,
            store=store,
            checkpoint=Path("outputs/train.safetensors"),
        )
        write_scores(Path("outputs/score.safetensors"), scores)


if __name__ == "__main__":
    run(main)
