"""activations: tokens of the frozen trunk, both towers, into the store."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import read_index, read_manifests, write_manifests
    from hlclip.params import load_params
    from hlclip.pipeline.activations import make_activations
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        images, texts = make_activations(
            read_index(Path("outputs/index.json")),
            read_manifests(Path("outputs/frames.json"), "frames")["frames"],
            params.encoder,
            store=store,
        )
        write_manifests(Path("outputs/activations.json"), images=images, texts=texts)


if __name__ == "__main__":
    run(main)
