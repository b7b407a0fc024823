"""train: fine-tune the tail of both towers from the cache."""

from pathlib import Path

from hlclip.manifests import read_index, read_manifests
from hlclip.params import load_params
from hlclip.stage import run
from hlclip.store import store_root
from hlclip.store_use import holding
from hlclip.train import train_tail


def main() -> None:
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
