"""Files of the repository that an installed hlclip carries: presets, stages, the pipeline."""

from pathlib import Path


def shipped(name: str) -> Path:
    """Path of a file or folder that has the path `name` in the repository.

    pyproject.toml lists what the wheel holds of them, in `hlclip/shipped/`.
    """
    package = Path(__file__).parents[1]
    carried = package / "shipped"
    return (carried if carried.is_dir() else package.parent) / name


def presets() -> dict[str, Path]:
    """Name -> complete parameter file."""
    return {path.stem: path for path in sorted(shipped("presets").glob("*.yaml"))}
