"""hlclip as users install it: built here, without network."""

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(out: Path, *arguments: str, source: Path = ROOT) -> list[Path]:
    """Build the sdist and from it the wheel (`--wheel`: the wheel alone), as `make dist` does."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *arguments, source]
    done = subprocess.run(command, text=True, check=False, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(out.iterdir())


def unpacked_wheel(folder: Path) -> Path:
    """The folder that an installation of the wheel puts on the path, with all its files."""
    (wheel,) = build(folder / "dist", "--wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"
