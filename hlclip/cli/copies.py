"""Commands of `hlclip store` that copy items: to a folder, and to object storage."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer, echo

from hlclip.cli.terminal import Command, print_json
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.formats import Item
    from hlclip.maintenance import Transfer

Bucket = Argument(metavar="URL", help="s3://BUCKET/FOLDER, or file:///FOLDER.")
_All = Annotated[
    bool,
    Option("--all", help="All items, features included; training results are never copied."),
]
_Jobs = Annotated[int, Option("--jobs", min=1, help="Items that travel at the same time.")]


def add_copies(store: Typer) -> None:
    """Add the commands to `hlclip store`."""
    commands = {"export": export_items, "import": import_items, "push": push, "pull": pull}
    for name, function in commands.items():
        store.command(name, cls=Command)(function)


def export_items(
    folder: Annotated[Path, Argument(metavar="DEST", help="A folder, made if needed.")],
    everything: _All = False,
) -> None:
    """Copy the items that this workspace names to a folder, for another machine or clone.

    The folder has the layout of a store, so rsync and tar can transfer it; `hlclip store import`
    checks each file. Run an interrupted export again to continue it. On the same disk, exported
    files share data with the store: do not edit them.

    \b
    Examples:
      hlclip store export /mnt/usb/hlclip
      hlclip store export /tmp/out --all
    """
    from hlclip.maintenance import transfer_items
    from hlclip.store import find_store

    only = None if everything else set(_named(everything=False))
    _report(folder, transfer_items(find_store().root, folder, only=only, desc="export"))


def import_items(
    folder: Annotated[Path, Argument(metavar="SRC", help="An exported folder, or another store.")],
) -> None:
    """Copy the items of another store into this one; each item is checked before it is added.

    Items that this store has are skipped. Run an interrupted import again to continue it.
    `dvc repro` then finds the items and neither decodes nor encodes.

    \b
    Examples:
      hlclip store import /mnt/usb/hlclip
      hlclip store import ../other-clone/.hlclip/store
    """
    from hlclip.maintenance import transfer_items
    from hlclip.store import find_store

    root = find_store().root
    _report(root, transfer_items(folder, root, desc="import"))


def push(url: Annotated[str, Bucket], everything: _All = False, jobs: _Jobs = 16) -> None:
    """Copy the items that this workspace names to object storage (S3), for other machines.

    Copies what is not there yet, and only whole items. Run an interrupted push again to continue
    it; several machines may push at once. Needs `pip install 'hlclip[s3]'`.

    \b
    Variables (those of Amazon's tools):
      AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN    credentials
      AWS_REGION          region of the bucket; default: us-east-1
      AWS_ENDPOINT_URL    a server other than Amazon's, such as MinIO, Ceph or R2
      AWS_ALLOW_HTTP      true: that server may have no https

    \b
    Examples:
      hlclip store push s3://bucket/hlclip
      hlclip store push s3://bucket/hlclip --all     on a worker, where nothing names its items
      hlclip store push file:///mnt/usb/hlclip
    """
    from hlclip.maintenance import push_items
    from hlclip.store import find_store

    named = _named(everything=everything)
    _report(url, push_items(find_store().root, url, named, everything=everything, jobs=jobs))


def pull(url: Annotated[str, Bucket], everything: _All = False, jobs: _Jobs = 16) -> None:
    """Copy the items that this workspace names from object storage (S3) into the store.

    Copies what the store lacks. Each item is checked before it is added; a damaged one is named and
    left out. Run an interrupted pull again to continue it. `dvc repro` then finds the items and
    neither decodes nor encodes. `hlclip store push --help` lists the variables for credentials.

    \b
    Examples:
      hlclip store pull s3://bucket/hlclip
      hlclip store pull s3://bucket/hlclip --all     also what nothing here names
    """
    from hlclip.maintenance import pull_items
    from hlclip.store import find_store

    named, root = _named(everything=everything), find_store().root
    _report(root, pull_items(url, root, named, everything=everything, jobs=jobs))


def print_remote_status(url: str, *, json: bool) -> None:
    """What object storage holds, and what `push` and `pull` would copy."""
    from tabulate import tabulate

    from hlclip.maintenance import remote_status, workspace_items
    from hlclip.store import find_store, repository

    status = remote_status(find_store().root, url, workspace_items(repository()))
    if json:
        print_json({"url": url, **asdict(status)})
        return
    echo(url if status.kinds else f"{url}: empty, and so is the store")
    rows = [("kind", "files", "size", "only here", "only there")]
    for name, kind in status.kinds.items():
        counts = f"{kind.to_push:,}", f"{kind.to_pull:,}"
        rows.append((name, f"{kind.files:,}", in_words(kind.bytes), *counts))
    if status.kinds:
        alignment = ("left", *["right"] * 4)
        echo(tabulate(rows, tablefmt="plain", colalign=alignment, disable_numparse=True))
    echo(f"{status.named_there:,} of {status.named:,} items that this workspace names are there")
    for where, what in status.differing.items():
        echo(f"{where}: {what}")


def _named(*, everything: bool) -> "dict[tuple[str, str], Item]":
    """The items that the workspace here names; it must name some, unless all are copied."""
    from hlclip.maintenance import manifest_items, workspace_manifests
    from hlclip.store import repository

    named = manifest_items(workspace_manifests(repository()))
    if not named and not everything:
        raise HlclipError(
            f"{repository()} names nothing: no outputs/frames.json or outputs/activations.json",
            "`dvc repro` or `dvc checkout` makes them; --all copies all items",
        )
    return named


def _report(target: Path | str, result: "Transfer") -> None:
    echo(
        f"{target}: {result.copied:,} files ({in_words(result.copied_bytes)}) copied, "
        f"{result.present:,} skipped as already present"
    )
    for path, reason in result.refused.items():
        echo(f"left out: {path}: {reason}", err=True)
    if result.refused:
        raise Exit(1)
