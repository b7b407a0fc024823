"""train: fine-tune the tail of both towers from the cache."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import read_index, read_manifests
    from hlclip.params import load_params
    from hlclip.pipeline.train import train_tail
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        train_tail(
            read_index(Path("outputs/index.json")),
            **read_manifests(Path("outputs/activations.json"), "images", "texts"),
            encoder=params.encoder,
            params=params.train,
            store=store,
            checkpoint=Path("outputs/train.safetensors"),
            history=Path("outputs/train.csv"),
        )


if __name__ == "__main__":
    run(main)
