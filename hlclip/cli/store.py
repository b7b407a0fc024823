"""`hlclip store`: look after cached frames and activations, and share them."""

import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from hlclip.cli.store_gc import gc
from hlclip.cli.terminal import Command, Json, print_json
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.maintenance import Transfer

store = typer.Typer(no_args_is_help=True)
store.command("gc", cls=Command)(gc)


@store.callback()
def group() -> None:
    """The store: cached frames, activations and features.

    \b
    Examples:
      hlclip store status             where it is, what it holds
      hlclip store verify             reads every file, names each damaged one
      hlclip store gc                 what could be removed; --force removes it
      hlclip store export /mnt/usb    then, on another machine: hlclip store import /mnt/usb
    """


@store.command(cls=Command)
def status(json: Json = False) -> None:
    """Where the store is, what it holds, and how much of that this workspace names.

    `named` counts the items that outputs/frames.json and outputs/activations.json name. Features
    of your own videos and states of interrupted trainings are named by no manifest.

    \b
    Examples:
      hlclip store status
      HLCLIP_STORE=/data/store hlclip store status --json
    """
    from tabulate import tabulate

    from hlclip.maintenance import store_status, workspace_items
    from hlclip.store import repository, store_root

    root = store_root()
    contents = store_status(root, workspace_items(repository()))
    variable = next((name for name in ("HLCLIP_STORE", "DVC_ROOT") if os.environ.get(name)), None)
    reason = variable or "the default, in the folder here"
    if json:
        print_json({"store": root, "why": reason, **asdict(contents)})
        return
    typer.echo(f"{root} ({reason})")
    if not root.is_dir():
        typer.echo("  does not exist yet; `dvc repro` makes it")
    elif not contents.kinds:
        typer.echo("  empty")
    rows = [("kind", "files", "size", "named", "unnamed", "format")]
    for name, kind in sorted(contents.kinds.items()):
        formats = ", ".join(f"{version}: {n:,}" for version, n in sorted(kind.formats.items()))
        sizes = in_words(kind.bytes), f"{kind.named:,}", in_words(kind.unnamed_bytes)
        rows.append((name, f"{kind.files:,}", *sizes, formats))
    if contents.kinds:
        alignment = ("left", "right", "right", "right", "right", "left")
        typer.echo(tabulate(rows, tablefmt="plain", colalign=alignment, disable_numparse=True))
    if contents.missing:
        typer.echo(f"{contents.missing:,} items that this workspace names are not in the store")
    _list("half-written by a dead process (`hlclip store gc` removes it)", contents.temporary)
    _list("being written now", contents.being_written)
    _list("not hlclip's", contents.foreign)
    if contents.in_use:
        typer.echo("in use by a run")


@store.command(cls=Command)
def verify(
    named: Annotated[
        bool, Option("--named", help="Only the items that this workspace's manifests name.")
    ] = False,
    remove: Annotated[
        bool, Option("--remove", help="Name the damaged files, then delete them.")
    ] = False,
    yes: Annotated[bool, Option("--yes", help="Do not ask before deleting.")] = False,
    json: Json = False,
) -> None:
    """Read every file of the store to its last byte; name each damaged one.

    The exit status is 1 if any file is damaged, also if it was removed. The next `dvc repro` makes
    missing items again; if DVC finds nothing changed, run `dvc repro --force` with the stage that
    is named.

    \b
    Examples:
      hlclip store verify
      hlclip store verify --named             only what this workspace needs, in less time
      hlclip store verify --remove            asks, then deletes damaged files
    """
    from hlclip.maintenance import remove_damaged, verify_store, workspace_manifests
    from hlclip.store import repository, store_root

    if remove and json and not yes:
        raise HlclipError("--json cannot ask before deleting", "give --yes with --remove")
    root = store_root()
    result = verify_store(root, workspace_manifests(repository()), everything=not named)
    if json:
        print_json({"store": root, **asdict(result)})
    else:
        typer.echo(f"{root}: {result.whole:,} files are whole, {len(result.damaged):,} damaged")
        problems = {"damaged": result.damaged, "named by outputs/ here, but": result.unmet}
        for about, files in problems.items():
            _list(about, (f"{file.path}: {file.reason}; {file.remedy}" for file in files))
    if remove and result.damaged:
        if not yes:
            typer.confirm(f"Delete these {len(result.damaged):,} files?", abort=True)
        remaining = [file.path for file in result.damaged if not remove_damaged(file.path)]
        _list("not deleted, because it is a folder with files in it: move it away", remaining)
    if result.damaged or result.unmet:
        raise typer.Exit(1)


@store.command("export", cls=Command)
def export_items(
    folder: Annotated[Path, Argument(metavar="DEST", help="A folder, made if needed.")],
    everything: Annotated[
        bool, Option("--all", help="All of the store, features included.")
    ] = False,
) -> None:
    """Copy the items that this workspace names to a folder, for another machine or clone.

    The folder has the layout of a store, so rsync and tar can transfer it; `hlclip store import`
    checks each file. An interrupted export goes on when it is run again. On the same disk the
    files are shared, not copied: do not edit them.

    \b
    Examples:
      hlclip store export /mnt/usb/hlclip
      hlclip store export /tmp/out --all
    """
    from hlclip.maintenance import transfer_items, workspace_items
    from hlclip.store import repository, store_root

    only = None if everything else workspace_items(repository())
    if only is not None and not only:
        raise HlclipError(
            f"{repository()} names nothing: no outputs/frames.json or outputs/activations.json",
            "`dvc repro` or `dvc checkout` makes them; --all exports the whole store",
        )
    _print_result(transfer_items(store_root(), folder, only=only, desc="export"), folder)


@store.command("import", cls=Command)
def import_items(
    folder: Annotated[Path, Argument(metavar="SRC", help="An exported folder, or another store.")],
) -> None:
    """Copy the items of another store into this one; each is checked before it enters.

    Items that this store has are skipped. An interrupted import goes on when it is run again.
    `dvc repro` then finds the items and neither decodes nor encodes.

    \b
    Examples:
      hlclip store import /mnt/usb/hlclip
      hlclip store import ../other-clone/.hlclip/store
    """
    from hlclip.maintenance import transfer_items
    from hlclip.store import store_root

    _print_result(transfer_items(folder, store_root(), desc="import"), store_root())


def _print_result(result: "Transfer", target: Path) -> None:
    typer.echo(
        f"{target}: {result.copied:,} files ({in_words(result.copied_bytes)}) copied, "
        f"{result.present:,} skipped as already present"
    )
    for path, reason in result.refused.items():
        typer.echo(f"left out: {path}: {reason}", err=True)
    if result.refused:
        raise typer.Exit(1)


def _list(about: str, paths: Iterable[Path | str]) -> None:
    for path in paths:
        typer.echo(f"{about}: {path}")
