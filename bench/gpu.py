"""The whole path on a GPU at QVHighlights' size, against what the card can do at most.

    python -m bench.gpu --out gpu.md                                on a card
    python -m bench.gpu --out gpu.md --model ViT-B-32-quickgelu     one model
    python -m bench.gpu --out cpu.md --device cpu --quick           every line; no real figures

Weights, frames and activations are random: nothing is downloaded, and no data set is needed. Trunk,
steps and scores are hlclip's own. The file is written whole after each measurement, so a run that
is ended keeps what it has measured.
"""

import gc
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from tabulate import tabulate
from tqdm import tqdm

from bench.gpu_model import FULL, QUICK, Cells, Model, Sizes, Task, short
from bench.pages import machine
from bench.peaks import peak_from_host, peak_memory, peak_operations
from hlclip.model import DeviceError, lacks_memory, pick_device
from hlclip.system import replacing

MODELS = (
    "ViT-B-32-quickgelu",
    "ViT-B-16-quickgelu",
    "ViT-B-32-SigLIP2-256",
    "ViT-L-14-quickgelu",
)


@dataclass
class Report:
    """What has been measured so far; each new line is written to `path` at once."""

    path: Path
    heading: str
    tables: dict[str, list[Cells]] = field(default_factory=dict)

    def add(self, title: str, cells: Cells) -> None:
        self.tables.setdefault(title, []).append(cells)
        parts = [self.heading]
        for name, rows in self.tables.items():
            parts += [f"{name}:", tabulate(rows, "keys", tablefmt="github", disable_numparse=True)]
        with replacing(self.path) as path:
            path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def measure_peaks(device: torch.device, sizes: Sizes, report: Report) -> dict[str, float]:
    """Operations and bytes a second that the device reaches at most."""
    peaks: dict[str, float] = {}
    for name, unit, measure in (
        ("bf16", "TFLOP/s", partial(peak_operations, device, torch.bfloat16, size=sizes.matrix)),
        ("float32", "TFLOP/s", partial(peak_operations, device, torch.float32, size=sizes.matrix)),
        ("memory", "GB/s", partial(peak_memory, device, size=sizes.copied)),
        ("from host", "GB/s", partial(peak_from_host, device, size=sizes.copied)),
    ):
        peaks[name] = measure()
        speed = short(peaks[name] / (1e12 if unit == "TFLOP/s" else 1e9))
        report.add("The device itself", {"of": name, "at most": f"{speed} {unit}"})
    return peaks


def _run(task: Task, report: Report) -> None:
    """Measure a line; one that gets no memory says so."""
    title, cells, work = task
    try:
        cells = cells | work()
    except (DeviceError, RuntimeError, MemoryError) as error:
        if not lacks_memory(error.__cause__ or error):
            raise
        cells = cells | {"note": "out of memory"}
    report.add(title, cells)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main(
    out: Annotated[Path, typer.Option(help="Markdown file that is written.")],
    model: Annotated[list[str] | None, typer.Option(help="Some models instead of four.")] = None,
    device: Annotated[str, typer.Option(help="cuda, cuda:N, or cpu with --quick.")] = "cuda",
    quick: Annotated[bool, typer.Option("--quick", help="Tiny sizes: no real figures.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where activations are kept.")] = None,
) -> None:
    """Measure the device, then each model; write a table after each line."""
    try:
        place = pick_device(device)
    except DeviceError as error:
        typer.echo(
            f"{error.reason}\nrun it on a machine with a GPU, or --device cpu --quick", err=True
        )
        raise typer.Exit(1) from error
    name = torch.cuda.get_device_name(place) if place.type == "cuda" else "no GPU"
    heading = f"{name}, CUDA {torch.version.cuda}; {machine('open_clip_torch', 'timm')}."
    if quick:
        heading += " A quick run: its figures mean nothing."
    sizes = QUICK if quick else FULL
    report = Report(out, heading)
    peaks = measure_peaks(place, sizes, report)
    names = model or list(MODELS)
    with (
        tempfile.TemporaryDirectory(dir=folder) as temporary,
        tqdm(total=len(names) * (2 * 5 + 2 + len(sizes.trunk_batches)), disable=None) as bar,
    ):
        for number, each in enumerate(names):
            bar.set_description(f"{each}: random weights and activations")
            measured = Model(each, place, sizes, peaks, Path(temporary) / str(number))
            for task in measured.measurements():
                bar.set_description(f"{each}: {task[0]}")
                _run(task, report)
                bar.update()
    typer.echo(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    typer.run(main)
