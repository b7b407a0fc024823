"""`hlclip store export` and `import`: what one machine has computed, another need not."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hlclip.cli.terminal import plain_errors
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.maintenance import Transfer


def export_items(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DEST", help="A folder; need not be there.")],
    everything: Annotated[
        bool, typer.Option("--all", help="All of the store, features included.")
    ] = False,
) -> None:
    """Copy what this workspace names to a folder, for another machine or clone.

    The folder is laid out like a store, so rsync and tar do the rest; `hlclip store import` checks
    each file. Run again, it goes on. On the same disk files are shared, not copied: leave them as
    they are.

    \b
    Examples:
      hlclip store export /mnt/usb/hlclip
      hlclip store export /tmp/out --all
    """
    from hlclip.maintenance import transfer_items, workspace_items  # noqa: PLC0415
    from hlclip.store import repository, store_root  # noqa: PLC0415

    with plain_errors(context):
        only = None if everything else workspace_items(repository())
        if only is not None and not only:
            raise HlclipError(
                f"{repository()} names nothing: no outputs/frames.json or "
                "outputs/activations.json; `dvc repro` or `dvc checkout` makes them, --all exports "
                "all that there is"
            )
        _tell(transfer_items(store_root(), folder, only=only, desc="export"), folder)


def import_items(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="SRC", help="What export left, or another store.")
    ],
) -> None:
    """Take items of another store into this one; each is checked before it enters.

    What is there is passed over. Run again, it goes on. `dvc repro` then finds the items and
    neither decodes nor encodes.

    \b
    Examples:
      hlclip store import /mnt/usb/hlclip
      hlclip store import ../other-clone/.hlclip/store
    """
    from hlclip.maintenance import transfer_items  # noqa: PLC0415
    from hlclip.store import store_root  # noqa: PLC0415

    with plain_errors(context):
        _tell(transfer_items(folder, store_root(), desc="import"), store_root())


def _tell(moved: "Transfer", target: Path) -> None:
    typer.echo(
        f"{target}: {moved.copied:,} files ({in_words(moved.copied_bytes)}) came, "
        f"{moved.present:,} were there"
    )
    for path, reason in moved.refused.items():
        typer.echo(f"left out: {path}: {reason}", err=True)
    if moved.refused:
        raise typer.Exit(1)
