"""`hlclip doctor`: what would stop a run."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from typer import Exit, Option, echo

from hlclip.cli.terminal import Json, print_json

_SHOWN = 10
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def doctor(
    params: Annotated[Path, Option(metavar="FILE", help="Parameters of the run.")] = Path(
        "params.yaml"
    ),
    root: Annotated[
        str | None, Option(metavar="FOLDER", help="Use this folder as data.root instead.")
    ] = None,
    quick: Annotated[
        bool, Option("--quick", help="Skip the measurements and the forecast of time and memory.")
    ] = False,
    json: Json = False,
) -> None:
    """Check everything that a run needs before it takes hours.

    It checks annotations (rows, checksums of the known releases), videos (it names missing and
    unreadable ones), weights, ffmpeg, CUDA, git and DVC. It estimates disk space, memory and time
    from a few of the videos. It changes nothing and exits with 1 if you have something to do.

    \b
    Examples:
      hlclip doctor
      hlclip doctor --params presets/qvhighlights.yaml --root /data/qvhighlights
      hlclip doctor --quick --json
    """
    from hlclip.doctor import examine
    from hlclip.params import load_params

    values = load_params(params)
    if root is not None:
        values = values.model_copy(update={"data": values.data.model_copy(update={"root": root})})
    findings = []
    for finding in examine(values, measured=not quick):
        findings.append(finding)
        if not json:
            echo(f"{_MARKS[finding.state]}  {finding.about}: {finding.found}")
            for name in finding.names[:_SHOWN]:
                echo(f"{'':9}  {name}")
            hidden = len(finding.names) - _SHOWN
            if hidden > 0:
                echo(f"{'':9}  ... and {hidden} more (--json names all)")
    problems = [finding for finding in findings if finding.state == "problem"]
    if json:
        print_json(list(map(asdict, findings)))
    elif problems:
        echo("\nTo do:")
        remedies: dict[str, list[str]] = {}
        for finding in problems:
            remedies.setdefault(finding.remedy, []).append(finding.about)
        for number, (remedy, about) in enumerate(remedies.items(), 1):
            echo(f"{number:2}. {', '.join(about)}: {remedy}")
    else:
        echo("\nReady to run:")
        if params.name != "params.yaml":
            echo(f"  cp {params} params.yaml")
        echo("  dvc exp run" + ("" if root is None else f" -S data.root={root}"))
    if problems:
        raise Exit(1)
