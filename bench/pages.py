"""Measured tables in the pages of docs/, and the machine that they were measured on."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from hlclip.system import replacing

END = "<!-- end of table -->\n"


def replace_table(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- table: NAME -->` and the end of the table."""
    begin = f"<!-- table: {name} -->\n"
    content = page.read_text(encoding="utf-8")
    if begin not in content:
        raise ValueError(f"{page}: no line {begin.strip()}")
    before, _, rest = content.partition(begin)
    after = rest.partition(END)[2]
    with replacing(page) as path:
        path.write_text(f"{before}{begin}\n{text}\n{END}{after}", encoding="utf-8")


def machine(*packages: str) -> str:
    """Date, processor, threads and versions; `packages` in addition to torch and hlclip."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", *packages, "hlclip"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({processor()}), "
        f"{torch.get_num_threads()} torch threads, Python {platform.python_version()}, {versions}"
    )


def processor() -> str:
    """Model name where the system tells it."""
    try:
        content = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(": ")[1] for line in content.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
