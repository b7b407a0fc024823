"""`hlclip doctor`: what would stop a run."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Exit, Option, echo

from hlclip.cli.terminal import Json, print_json

if TYPE_CHECKING:
    from hlclip.doctor import Check, Finding

_PARAMS = Path("params.yaml")
_SHOWN = 10
_MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


def doctor(
    params: Annotated[Path, Option(metavar="FILE", help="Parameters of the run.")] = _PARAMS,
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
    Where there is no params.yaml, it checks what your own videos need: ffmpeg, CUDA and the store.

    \b
    Examples:
      hlclip doctor
      hlclip doctor --params other.yaml --root /data/other
      hlclip doctor --quick --json
    """
    from hlclip.doctor import examine_machine

    in_project = params.exists() or params != _PARAMS or root is not None
    checks = _checks_of_a_run(params, root, quick) if in_project else examine_machine()
    findings = []
    for finding in checks:
        findings.append(finding)
        if not json:
            _print_finding(finding)
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
    elif not in_project:
        echo("\nReady for your own videos: hlclip highlight VIDEO QUERY")
        echo("No params.yaml here; hlclip init FOLDER makes a project for a data set of your own.")
    else:
        echo("\nReady to run:")
        if params.name != "params.yaml":
            echo(f"  cp {params} params.yaml")
        echo("  dvc exp run" + ("" if root is None else f" -S data.root={root}"))
    if problems:
        raise Exit(1)


def _checks_of_a_run(params: Path, root: str | None, quick: bool) -> "Check[None]":
    from hlclip.doctor import examine
    from hlclip.params import load_params

    values = load_params(params)
    if root is not None:
        values = values.model_copy(update={"data": values.data.model_copy(update={"root": root})})
    return examine(values, measured=not quick)


def _print_finding(finding: "Finding") -> None:
    advice = f"; {finding.remedy}" if finding.state == "note" and finding.remedy else ""
    echo(f"{_MARKS[finding.state]}  {finding.about}: {finding.found}{advice}")
    for name in finding.names[:_SHOWN]:
        echo(f"{'':9}  {name}")
    hidden = len(finding.names) - _SHOWN
    if hidden > 0:
        echo(f"{'':9}  ... and {hidden} more (--json names all)")
