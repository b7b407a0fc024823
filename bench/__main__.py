"""Every fast path against the naive way, side by side in one run: `make bench`.

python -m bench                    all cases, about half an hour on two cores
python -m bench decoding trunk     some of them
python -m bench --update           also renews the table of docs/performance.md
"""

import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import pyperf
import typer
from tabulate import tabulate
from tqdm import tqdm

from bench.growth import draw_growth, measure_growth
from bench.pages import machine, replace_table
from bench.pairs import Measured, measure
from hlclip.system import replacing

CASES = ("evaluation", "reruns", "trunk", "training", "siglip", "reading", "decoding", "workers")
ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench/results"
PAGE = ROOT / "docs/performance.md"


def main(
    cases: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join((*CASES, 'growth'))}.")
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Instead of each case's own.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where inputs are made and kept.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Renew docs/performance.md.")] = False,
) -> None:
    """Measure each case interleaved with what it is compared with; write JSON and Markdown."""
    chosen = cases or [*CASES, "growth"]
    for name in chosen:
        if name not in (*CASES, "growth"):
            raise typer.BadParameter(f"{name!r} is none of {', '.join((*CASES, 'growth'))}")
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        measured: list[Measured] = []
        for name in chosen:
            if name in CASES:
                for result in _measure(name, place, rounds):
                    measured.append(result)
                    _write(measured, [])  # a later case may fail, or be given up
        growth = measure_growth(Path(temporary)) if "growth" in chosen else []
    text = _write(measured, growth)
    typer.echo(text)
    if update:
        replace_table(PAGE, "make bench", text)
        if growth:
            draw_growth(growth, ROOT / "docs/growth.svg")


def _measure(name: str, folder: Path, rounds: int | None) -> Iterable[Measured]:
    module = importlib.import_module(f"bench.{name}")
    for pair in tqdm(module.cases(folder), desc=name, unit="case", disable=None):
        result = measure(pair, rounds=rounds)
        tqdm.write(f"{pair.name}: {result.ratio:.2f}x {pair.against_name} ({result.target})")
        yield result


def _write(measured: list[Measured], growth: list[dict[str, Any]]) -> str:
    """Write JSON and Markdown of what there is; the latter is returned."""
    text = markdown(measured, growth)
    RESULTS.mkdir(exist_ok=True)
    with replacing(RESULTS / "latest.md") as path:
        path.write_text(text, encoding="utf-8")
    if measured:
        suite = pyperf.BenchmarkSuite([b for m in measured for b in (m.ours, m.against)])
        suite.dump(str(RESULTS / "latest.json"), replace=True)
    return text


def markdown(measured: list[Measured], growth: list[dict[str, Any]]) -> str:
    """The tables, and on what they were measured."""
    on = machine("open_clip_torch", "h5py", "av")
    lines = [f"{on}. Medians; each pair in turns in one process."]
    if measured:
        table = [
            (
                m.pair.name,
                m.pair.against_name,
                f"{m.ours.median():.3g} s",
                f"{m.against.median():.3g} s",
                f"{m.ratio:.2f}x",
                m.target,
                "yes" if m.met else "no",
            )
            for m in measured
        ]
        heads = ("case", "against", "hlclip", "other", "ratio", "target", "met")
        lines += ["", tabulate(table, heads, tablefmt="github", disable_numparse=True)]
    if growth:
        stages = list(dict.fromkeys(row["stage"] for row in growth))
        counts = sorted({row["videos"] for row in growth})
        cells = {
            (r["stage"], r["videos"]): f"{r['seconds']:.2f} s, {r['peak MB']} MB" for r in growth
        }
        table = [(stage, *(cells[stage, count] for count in counts)) for stage in stages]
        heads = ("stage", *(f"{count:,} videos" for count in counts))
        lines += ["", tabulate(table, heads, tablefmt="github", disable_numparse=True)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    typer.run(main)
