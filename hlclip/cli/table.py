"""`hlclip table`: the paper's tables from DVC's experiments."""

from pathlib import Path
from typing import Annotated, Literal

from typer import Option, echo

from hlclip.cli.terminal import Json, print_json


def table(
    where: Annotated[
        list[str] | None,
        Option(metavar="KEY=VALUE", help="Only runs with this parameter; repeatable."),
    ] = None,
    by: Annotated[
        list[str] | None,
        Option(
            metavar="KEY",
            help="Compare runs by this parameter, on val; repeatable (ablations). encoder.model "
            "stands for its weights and frames, too.",
        ),
    ] = None,
    rev: Annotated[
        list[str] | None,
        Option(
            metavar="REV", help="Experiments of this commit or branch; repeatable. Default: HEAD."
        ),
    ] = None,
    num: Annotated[
        int,
        Option(metavar="N", help="Also read experiments of the N - 1 commits before; -1 for all."),
    ] = 1,
    level: Annotated[
        Literal["Fair", "Good", "VeryGood"], Option(help="Lowest rating that makes a highlight.")
    ] = "VeryGood",
    style: Annotated[
        Literal["terminal", "markdown", "csv"], Option("--format", help="How the table is written.")
    ] = "terminal",
    json: Json = False,
) -> None:
    """The paper's tables from DVC's experiments: mean and standard deviation over seeds.

    Runs are averaged over train.seed, with a line for each of zero-shot CLIP, HL-CLIP-1 and
    HL-CLIP-2, without and with saliency pooling (SP). Only runs with the same data and parameters
    stand in one table: those of the run in the working folder, or else of the newest run. The
    command names the other runs and what differs.

    \b
    Examples:
      dvc exp run --queue -S train.blocks=1,2 -S train.seed=0,1,2,3
      dvc exp run --run-all
      hlclip table                              Table 1 (test) and Table 2 (val)
      hlclip table --format markdown
      hlclip table --where pool.window=5        only experiments with this value
      hlclip table --where train.blocks=2 --by train.target      an ablation
      hlclip table --by encoder.model           encoders, each with its weights and frames
    """
    from hlclip.results import as_json, comparable, finished_experiments, lines, matching, render

    "".join(rev or ()).encode()  # an error here names what is not text; one of git's does not
    runs, left_out = finished_experiments(Path(), revisions=rev or (), commits=num)
    for line in left_out:
        echo(f"left out: {line}", err=True)
    runs, others = comparable(matching(runs, where or ()), by or ())
    for line in others:
        echo(f"left out: {line}", err=True)
    if others:
        echo("--where KEY=VALUE or --rev chooses other runs, --by KEY compares them", err=True)
    table_lines = lines(runs, level=level, by=by or ())
    if json:
        print_json(as_json(table_lines, runs, level=level, left_out=[*left_out, *others]))
    else:
        echo(render(table_lines, runs, style=style, level=level))
