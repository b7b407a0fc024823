"""What to run next on a data set, in a clone of hlclip and outside of one."""

import shlex
from pathlib import Path


def next_steps(preset: str, root: Path) -> list[str]:
    """Lines that run the pipeline with a preset on the data set in `root`."""
    data = shlex.quote(str(root.absolute()))
    if Path("presets", f"{preset}.yaml").is_file():
        return [f"  cp presets/{preset}.yaml params.yaml", f"  dvc exp run -S data.root={data}"]
    return [f"  hlclip init FOLDER --preset {preset} --data {data}", "  cd FOLDER", "  dvc repro"]
