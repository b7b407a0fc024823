"""`hlclip report`: one HTML page about a finished run."""

import json as json_format
from pathlib import Path
from typing import Annotated

import typer

from hlclip.cli.terminal import plain_errors


def report(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Argument(metavar="[FOLDER]", help="Holds params.yaml, metrics.json and outputs/."),
    ] = Path(),
    out: Annotated[
        Path | None,
        typer.Option(metavar="HTML", help="Write here, not to FOLDER/outputs/report.html."),
    ] = None,
    thumbnails: Annotated[
        int,
        typer.Option(
            metavar="QUERIES", min=0, help="So many queries get pictures, about 10 kB each."
        ),
    ] = 240,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """One HTML page about a finished run, to be opened in any browser.

    Made after `dvc repro`. The page holds the table of figures, mean and standard deviation where
    DVC's experiments have other seeds of this run, the training curves, the metric over the pooling
    window, every query with its saliency curves before and after pooling against the annotators'
    ratings, frames at the peaks, and the videos that are missing. It is one file that needs no
    network, so it can be mailed.

    Frames come from the store ($HLCLIP_STORE or .hlclip/store); where they were deleted the page
    says so and goes without.

    \b
    Examples:
      dvc repro && hlclip report
      hlclip report --out hlclip-2.html
      hlclip report --thumbnails 0       a small file
    """
    with plain_errors(context):
        from hlclip.results import (  # noqa: PLC0415 (DVC)
            ExperimentsError,
            finished_experiments,
            read_run,
            seed_tables,
        )
        from hlclip.results.page import write_report  # noqa: PLC0415 (torch, h5py, altair)
        from hlclip.store import store_root  # noqa: PLC0415

        run = read_run(folder)
        try:
            seeds = seed_tables(finished_experiments(folder)[0])
        except ExperimentsError as error:  # a copy of a run, outside of its repository
            typer.echo(f"without a table over seeds: {error}", err=True)
            seeds = []
        path = out or folder / "outputs" / "report.html"
        made = write_report(run, path, store=store_root(), thumbnails=thumbnails, further=seeds)
        size = path.stat().st_size
        if json:
            facts = {"report": str(path), "bytes": size, "queries without pictures": made.without}
            typer.echo(json_format.dumps(facts))
        else:
            typer.echo(f"{path}: {size / 1e6:.1f} MB")
        if made.without:
            typer.echo(
                f"{made.without} of {made.chosen} queries have no pictures: their frames are not "
                "in the store",
                err=True,
            )
