"""`hlclip report`: one HTML page about a finished run."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option, echo

from hlclip.cli.terminal import Json, print_json


def report(
    folder: Annotated[
        Path,
        Argument(metavar="[FOLDER]", help="Folder with dvc.lock and outputs/."),
    ] = Path(),
    out: Annotated[
        Path | None, Option(metavar="HTML", help="Write here, not to FOLDER/outputs/report.html.")
    ] = None,
    thumbnails: Annotated[
        int,
        Option(metavar="QUERIES", min=0, help="Number of queries with pictures, about 10 kB each."),
    ] = 240,
    json: Json = False,
) -> None:
    """One HTML page about a finished run, for any browser.

    Run it after `dvc repro`. The page shows the table of figures (mean and standard deviation, if
    DVC has experiments with other seeds of this run), the training curves, the metric for every
    pooling window, the best and worst queries, each query's saliency curves before and after
    pooling with ratings, moments and frames at the peaks, and the missing videos. It is one file
    that needs no network, so it can be mailed.

    Parameters and files are those of the run in dvc.lock. If the files in the folder are of another
    run, the command names them and makes no report.

    Frames come from the store ($HLCLIP_STORE, or .hlclip/store of the project around FOLDER). If
    the frames were deleted, the page says so and has no pictures.

    \b
    Examples:
      dvc repro && hlclip report
      hlclip report --out hlclip-2.html
      hlclip report --thumbnails 0       a small file
    """
    from hlclip.results import (
        WORKSPACE,
        ExperimentsError,
        finished_experiments,
        read_run,
        seed_tables,
    )
    from hlclip.results.page import write_report
    from hlclip.store import store_root

    run = read_run(folder)
    try:
        experiments, left_out = finished_experiments(folder)
        seeds = seed_tables(experiments)
        for line in left_out:
            if line.startswith(WORKSPACE):
                echo(f"without a table over seeds: {line}", err=True)
    except ExperimentsError as error:  # a copy of a run, outside of its repository
        echo(f"without a table over seeds: {error}", err=True)
        seeds = []
    path = out or folder / "outputs" / "report.html"
    page = write_report(run, path, store=store_root(folder), thumbnails=thumbnails, further=seeds)
    size = path.stat().st_size
    if json:
        print_json({"report": str(path), "bytes": size, "queries without pictures": page.without})
    else:
        echo(f"{path}: {size / 1e6:.1f} MB")
    if page.without:
        echo(
            f"{page.without} of {page.chosen} queries have no pictures: their frames are not in "
            "the store",
            err=True,
        )
