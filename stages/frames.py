"""frames: one RGB frame per clip, at its middle, into the store."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import write_manifests
    from hlclip.params import load_params
    from hlclip.pipeline.frames import make_frames
    from hlclip.pipeline.inputs import index_input
    from hlclip.store import holding, store_root

    params = load_params()
    with holding(store_root()) as store:
        frames = make_frames(
            index_input(params),
            params.frames,
            data_root=Path(params.data.root),
            store=store,
            max_missing=params.data.max_missing,
            needed=params.needed_splits,
        )
        write_manifests(Path("outputs/frames.json"), frames=frames)


if __name__ == "__main__":
    run(main)
