"""Make the sample's second model, which has the modality gap of a real CLIP model.

    python -m sample.gap                 a second; writes sample/model-gap

Its weights are those of `sample/model`, but for the two biases in `sample/gap.safetensors`, which
`sample.cones` found. The biases come behind all blocks, so both models have the same tokens.
Nothing is computed: the bytes are the same on every machine.
"""

import argparse
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

from hlclip.system import replacing

BIASES = Path("sample/gap.safetensors")
MODEL = Path("sample/model")
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("sample/model-gap"))
    make_model(parser.parse_args().out)


def make_model(out: Path) -> None:
    """Write the model in open_clip's layout."""
    with replacing(out / WEIGHTS) as temporary:
        save_file(load_file(MODEL / WEIGHTS) | load_file(BIASES), temporary)
    with replacing(out / CONFIG) as temporary:
        shutil.copyfile(MODEL / CONFIG, temporary)


if __name__ == "__main__":
    main()
