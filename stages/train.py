"""train: fine-tune the tail of both towers from the cache."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.params import load_params
    from hlclip.pipeline.inputs import activations_input
    from hlclip.pipeline.train import train_tail
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        train_tail(
            **activations_input(params),
            encoder=params.encoder,
            params=params.train,
            store=store,
            checkpoint=Path("outputs/train.safetensors"),
            history=Path("outputs/train.csv"),
        )


if __name__ == "__main__":
    run(main)
