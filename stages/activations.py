"""activations: tokens of the frozen trunk, both towers, into the store."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import write_manifests
    from hlclip.params import load_params
    from hlclip.pipeline.activations import make_activations
    from hlclip.pipeline.inputs import frames_input
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        images, texts = make_activations(
            *frames_input(params),
            params.encoder,
            store=store,
            device=params.train.device,
        )
        write_manifests(Path("outputs/activations.json"), images=images, texts=texts)


if __name__ == "__main__":
    run(main)
