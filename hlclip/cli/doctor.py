"""`hlclip doctor`: what would stop a run."""

import json as json_format
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hlclip.cli.terminal import plain_errors

_SHOWN = 10
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def doctor(
    context: typer.Context,
    params: Annotated[
        Path, typer.Option(metavar="FILE", help="The parameters that are to be run.")
    ] = Path("params.yaml"),
    root: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Another data.root than the file's.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Measure nothing: no forecast of time and memory.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print findings as JSON, all names included.")
    ] = False,
) -> None:
    """Check everything that a run needs before hours are spent.

    Annotations (rows, checksums of the known releases), videos (missing and unreadable ones by
    name), weights, ffmpeg, CUDA, git and DVC, and the disk, memory and time that it will take,
    measured on a few of the videos. Nothing is changed. The exit status is 1 when there is
    something to do.

    \b
    Examples:
      hlclip doctor
      hlclip doctor --params presets/qvhighlights.yaml --root /data/qvhighlights
      hlclip doctor --quick --json
    """
    from hlclip.doctor import examine  # noqa: PLC0415 (torch: seconds)
    from hlclip.params import load_params  # noqa: PLC0415

    logging.getLogger().setLevel(logging.ERROR)  # open_clip: "no pretrained weights loaded"
    findings = []
    with plain_errors(context):
        given = load_params(params)
        if root is not None:
            given = given.model_copy(update={"data": given.data.model_copy(update={"root": root})})
        for finding in examine(given, measured=not quick):
            findings.append(finding)
            if not json:
                typer.echo(f"{_MARKS[finding.state]}  {finding.about}: {finding.found}")
                for name in finding.names[:_SHOWN]:
                    typer.echo(f"{'':9}  {name}")
                if len(finding.names) > _SHOWN:
                    rest = len(finding.names) - _SHOWN
                    typer.echo(f"{'':9}  ... and {rest} more (--json names all)")
    problems = [finding for finding in findings if finding.state == "problem"]
    if json:
        typer.echo(json_format.dumps([asdict(finding) for finding in findings], indent=1))
    elif problems:
        typer.echo("\nTo do:")
        remedies: dict[str, list[str]] = {}
        for finding in problems:
            remedies.setdefault(finding.remedy, []).append(finding.about)
        for number, (remedy, about) in enumerate(remedies.items(), 1):
            typer.echo(f"{number:2}. {', '.join(about)}: {remedy}")
    else:
        typer.echo("\nReady to run:")
        if params.name != "params.yaml":
            typer.echo(f"  cp {params} params.yaml")
        typer.echo("  dvc exp run" + ("" if root is None else f" -S data.root={root}"))
    if problems:
        raise typer.Exit(1)
