"""What large data sets take, computed from unit costs: the table of docs/scale.md.

python -m bench.scale              shows the table
python -m bench.scale --update     also renews it in docs/scale.md
"""

from pathlib import Path
from typing import Annotated

import typer
from tabulate import tabulate

from bench.pages import replace_table

PAGE = Path(__file__).parents[1] / "docs/scale.md"
VIDEOS = (10_000, 1_000_000, 10_000_000)
"""Of 150 s (75 clips), with one query each, as in QVHighlights."""

# Measured with the exception of the GPU's; docs/scale.md says where.
VIDEO_BYTES = {"360p": 11.3e6, "720p": 37.5e6}
FRAMES_CPU_SECONDS = {"360p": 1.13, "720p": 3.3}
HASH_CPU_BYTES = 1.4e9
"""Bytes that one core hashes in a second."""
TRUNK_CPU_SECONDS = 6.6
TRUNK_FLOP = 0.55e12
STEP_CPU_SECONDS = 2.1
"""Of a training step of two blocks, for each query of its batch."""
STEP_FLOP = 0.2e12
GPU_FLOP_SECOND = 100e12
"""What a GPU is assumed to sustain in half precision; not measured."""
FRAMES_BYTES, TOKENS_BYTES, TEXT_BYTES = 11.3e6, 5.76e6, 17.6e3
ENTRY_BYTES, ENTRY_MEMORY, ENTRY_CPU_SECONDS = 159, 1.6e3, 17e-6
"""Of one item in a manifest: in the file, in memory, to write and read it once."""
FILE_CPU_SECONDS = 15e-6
"""To list one file of the store."""


def table() -> str:
    """Rows are costs, columns are numbers of videos."""
    columns = [costs(videos) for videos in VIDEOS]
    rows = [(name, *(column[name] for column in columns)) for name in columns[0]]
    heads = ("", *(f"{videos:,} videos" for videos in VIDEOS))
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def costs(videos: int) -> dict[str, str]:
    """What is needed -> how much, for the pipeline with ViT-B/32 in float16."""
    entries = 3 * videos  # frames, tokens of the frames, tokens of the query
    hashing = {size: total / HASH_CPU_BYTES for size, total in VIDEO_BYTES.items()}
    return {
        "read once: videos of 360p / 720p": _both(_bytes, VIDEO_BYTES, videos),
        "`index`: CPU time to hash them": _both(_hours, hashing, videos),
        "`frames`: CPU time, 360p / 720p": _both(_hours, FRAMES_CPU_SECONDS, videos),
        "`activations`: CPU time": _hours(videos * TRUNK_CPU_SECONDS),
        "`activations`: GPU time, not measured": _hours(videos * TRUNK_FLOP / GPU_FLOP_SECOND),
        "store: frames, can be deleted": _bytes(videos * FRAMES_BYTES),
        "store: activations": _bytes(videos * (TOKENS_BYTES + TEXT_BYTES)),
        "files in the store": f"{entries:,}",
        "files in each folder of a kind": f"{videos / 256:,.0f}",
        "list the store: CPU time": _seconds(entries * FILE_CPU_SECONDS),
        "manifests: size": _bytes(entries * ENTRY_BYTES),
        "manifests: memory of a stage": _bytes(entries * ENTRY_MEMORY),
        "manifests: CPU time to write and read": _seconds(entries * ENTRY_CPU_SECONDS),
        "an epoch: CPU time": _hours(videos * STEP_CPU_SECONDS),
        "an epoch: GPU time, not measured": _hours(videos * STEP_FLOP / GPU_FLOP_SECOND),
        "an epoch: tokens read": _bytes(videos * TOKENS_BYTES),
    }


def _both(shown, units: dict[str, float], videos: int) -> str:
    return " / ".join(shown(videos * unit) for unit in units.values())


def _bytes(count: float) -> str:
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= unit:
            return f"{count / unit:,.3g} {name}"
    return f"{count / 1e6:,.3g} MB"


def _hours(seconds: float) -> str:
    return (
        f"{seconds / 3600:,.2g} h" if seconds < 360_000 else f"{round(seconds / 3600, -2):,.0f} h"
    )


def _seconds(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 60 else f"{seconds / 60:.2g} min"


def main(
    update: Annotated[bool, typer.Option("--update", help="Renew docs/scale.md.")] = False,
) -> None:
    typer.echo(table())
    if update:
        replace_table(PAGE, "scale", table())


if __name__ == "__main__":
    typer.run(main)
