"""`hlclip store`: frames and activations, looked after."""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlclip.cli.store_gc import gc
from hlclip.cli.store_sharing import export_items, import_items
from hlclip.cli.terminal import plain_errors
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.maintenance import Defect

store = typer.Typer(no_args_is_help=True)
store.command("gc")(gc)
store.command("export")(export_items)
store.command("import")(import_items)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


@store.callback()
def group() -> None:
    """The store: cached frames, activations and features.

    \b
    Examples:
      hlclip store status             where it is, what it holds
      hlclip store verify             reads every file, names each that is damaged
      hlclip store gc                 what could go; --force removes it
      hlclip store export /mnt/usb    then, on another machine: hlclip store import /mnt/usb
    """


@store.command()
def status(context: typer.Context, as_json: _Json = False) -> None:
    """Where the store is, what it holds, and how much of that this workspace names.

    `named` counts what outputs/frames.json and outputs/activations.json here name. Features (of
    your own videos) and states of interrupted trainings are named by no manifest.

    \b
    Examples:
      hlclip store status
      HLCLIP_STORE=/data/store hlclip store status --json
    """
    from hlclip.maintenance import store_status, workspace_items  # noqa: PLC0415
    from hlclip.store import repository, store_root  # noqa: PLC0415 (HDF5)

    with plain_errors(context):
        root = store_root()
        found = store_status(root, workspace_items(repository()))
        if as_json:
            _print_json({"store": str(root), "why": _why(), **asdict(found)})
            return
        typer.echo(f"{root} ({_why()})")
        if not root.is_dir():
            typer.echo("  not there yet; `dvc repro` makes it")
        elif not found.kinds:
            typer.echo("  empty")
        rows = [("kind", "files", "size", "named", "unnamed", "format")]
        for name, kind in sorted(found.kinds.items()):
            formats = ", ".join(f"{version}: {n:,}" for version, n in sorted(kind.formats.items()))
            sizes = in_words(kind.bytes), f"{kind.named:,}", in_words(kind.unnamed_bytes)
            rows.append((name, f"{kind.files:,}", *sizes, formats))
        _table(rows if found.kinds else [])
        if found.missing:
            typer.echo(f"{found.missing:,} items that this workspace names are not in the store")
        _list("left by processes that are gone (`hlclip store gc` removes it)", found.temporary)
        _list("being written now", found.being_written)
        _list("not hlclip's", found.foreign)
        if found.in_use:
            typer.echo("in use by a run")


@store.command()
def verify(
    context: typer.Context,
    named: Annotated[
        bool, typer.Option("--named", help="Only what this workspace's manifests name.")
    ] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete what is damaged, after saying what.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    as_json: _Json = False,
) -> None:
    """Read every file of the store to its last byte; name each that is damaged.

    Exit status 1 if there is any, also if it was removed. The next `dvc repro` then makes what is
    missing; where DVC finds nothing changed, `dvc repro --force` with the stage that is named.

    \b
    Examples:
      hlclip store verify
      hlclip store verify --named             what this workspace needs, in less time
      hlclip store verify --remove            asks, then deletes what is damaged
    """
    from hlclip.maintenance import (  # noqa: PLC0415
        remove_damaged,
        verify_store,
        workspace_manifests,
    )
    from hlclip.store import repository, store_root  # noqa: PLC0415

    with plain_errors(context):
        if remove and as_json and not yes:
            raise HlclipError("--json asks nothing: --remove then needs --yes")
        root = store_root()
        found = verify_store(root, workspace_manifests(repository()), everything=not named)
        if as_json:
            _print_json({"store": str(root), **asdict(found)})
        else:
            typer.echo(f"{root}: {found.whole:,} files are whole, {len(found.damaged):,} damaged")
            _complaints("damaged", found.damaged)
            _complaints("named by outputs/ here, but", found.unmet)
        if remove and found.damaged:
            if not yes:
                typer.confirm(f"Delete these {len(found.damaged):,} files?", abort=True)
            stay = [each.path for each in found.damaged if not remove_damaged(each.path)]
            _list("folders with something in them, left alone: move them away", stay)
        if found.damaged or found.unmet:
            raise typer.Exit(1)


def _why() -> str:
    if os.environ.get("HLCLIP_STORE"):
        return "HLCLIP_STORE"
    return "DVC_ROOT" if os.environ.get("DVC_ROOT") else "the default, in the folder here"


def _complaints(what: str, complaints: "Iterable[Defect]") -> None:
    for each in complaints:
        typer.echo(f"{what}: {each.path}: {each.reason}; {each.remedy}")


def _list(what: str, paths: Iterable[Path]) -> None:
    for path in paths:
        typer.echo(f"{what}: {path}")


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers, last in rows:
        middle = [f"{n:>{width}}" for n, width in zip(numbers, widths[1:-1], strict=True)]
        typer.echo("  ".join([f"{name:{widths[0]}}", *middle, last]))


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=1, default=str))
