"""index: validate the annotations, find and probe the videos."""

from pathlib import Path

from hlclip.pipeline.stage import run


def main() -> None:
    from hlclip.formats import write_index
    from hlclip.params import load_params
    from hlclip.pipeline.index import build_index
    from hlclip.store import store_root
    from hlclip.video import HASHES

    params = load_params()
    cache = store_root() / HASHES
    index = build_index(params.data, cache=cache, needed=params.needed_splits)
    write_index(Path("outputs/index.json"), index)


if __name__ == "__main__":
    run(main)
