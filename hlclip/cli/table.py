"""`hlclip table`: the paper's tables from DVC's experiments."""

import json as json_format
from pathlib import Path
from typing import Annotated, Literal

import typer

from hlclip.cli.terminal import plain_errors
from hlclip.formats import Level


def table(
    context: typer.Context,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only runs with this parameter; repeatable."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY", help="Compare runs by this parameter, on val; repeatable (ablations)."
        ),
    ] = None,
    rev: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REV", help="Experiments of this commit or branch; repeatable. Default: HEAD."
        ),
    ] = None,
    num: Annotated[
        int, typer.Option(metavar="N", help="Also of N - 1 commits before; -1 for all.")
    ] = 1,
    level: Annotated[
        Level,
        typer.Option(help="Lowest rating that makes a highlight."),
    ] = "VeryGood",
    style: Annotated[
        Literal["terminal", "markdown", "csv"],
        typer.Option("--format", help="How the table is written."),
    ] = "terminal",
    json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead, unrounded, notes included.")
    ] = False,
) -> None:
    """The paper's tables from DVC's experiments: mean and standard deviation over seeds.

    Runs are averaged over train.seed, with a line each for zero-shot CLIP, HL-CLIP-1 and HL-CLIP-2,
    without and with saliency pooling (SP). Runs on different data, or that differ in any other
    parameter, are never averaged: the command says in what they differ.

    \b
    Examples:
      dvc exp run --queue -S train.blocks=1,2 -S train.seed=0,1,2,3
      dvc exp run --run-all
      hlclip table                              Table 2 (val) and Table 1 (test)
      hlclip table --format markdown
      hlclip table --where pool.window=5        some of many experiments
      hlclip table --where train.blocks=2 --by train.target      an ablation
    """
    from hlclip.results import as_json, comparable, finished_experiments, lines, matching, render  # noqa: PLC0415 (DVC: half a second)  # noqa: PLC0415  # noqa: PLC0415

    with plain_errors(context):
        runs, unfinished = finished_experiments(Path(), revisions=rev or (), commits=num)
        for name in unfinished:
            typer.echo(f"left out: {name}", err=True)
        runs = comparable(matching(runs, where or ()), by or ())
        table = lines(runs, level=level, by=by or ())
        if json:
            typer.echo(json_format.dumps(as_json(table, runs, level=level), indent=1))
        else:
            typer.echo(render(table, runs, style=style, level=level))
