"""`hlclip store gc`: what no manifest names any more goes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from hlclip.cli.terminal import plain_errors
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.maintenance import Keep, StoredFile


def gc(
    context: typer.Context,
    force: Annotated[
        bool, typer.Option("--force", "--yes", help="Remove it; without, only say what would go.")
    ] = False,
    keep: Annotated[
        Literal["workspace", "references", "commits"],
        typer.Option(
            help="What the working trees name stays; also the tips of branches, tags, experiments, "
            "queued tasks and stashes; also all commits before them."
        ),
    ] = "references",
    clones: Annotated[
        list[Path] | None,
        typer.Option(
            "--repository",
            metavar="FOLDER",
            help="A clone that uses the store; repeatable. Needed when the store lies outside of "
            "this one. Default: the one here.",
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="Go on where a manifest cannot be read; may remove its items."
        ),
    ] = False,
    features: Annotated[
        bool,
        typer.Option(
            "--features",
            help="Also features of your own videos, and states of interrupted trainings.",
        ),
    ] = False,
    older_than: Annotated[
        float, typer.Option(metavar="DAYS", min=0, help="Only what was written longer ago.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """Say what nothing names any more; with --force, remove it.

    An item stays while a manifest names it: of any working tree, branch, tag, DVC experiment
    (queued and running ones, too) or stash. Without --force nothing is removed. While a run adds
    to the store nothing can be removed.

    \b
    Examples:
      hlclip store gc                                    only says what would go
      hlclip store gc --force
      hlclip store gc --keep workspace --force           nothing but what is checked out
      hlclip store gc --features --older-than 30         also features older than a month
      hlclip store gc --repository . --repository ../other-clone
    """
    from hlclip.maintenance import find_garbage, remove_garbage  # noqa: PLC0415
    from hlclip.store import store_root  # noqa: PLC0415

    with plain_errors(context):
        root = store_root()
        unreadable: dict[str, str] = {}

        def find() -> "list[StoredFile]":
            items, gaps = _named_anywhere(root, keep, clones or [])
            if not skip_unreadable:
                unreadable.update(gaps)
            if force and unreadable:
                raise HlclipError(_words(unreadable))
            return find_garbage(root, items, features=features, older_than_days=older_than)

        garbage = remove_garbage(root, find) if force else find()
        files = [(file.path, file.size) for file in garbage]
        total = sum(size for _, size in files)
        if as_json:
            listed = [{"path": str(path), "bytes": size} for path, size in files]
            found = {"store": str(root), "removed": force, "bytes": total, "files": listed}
            typer.echo(json.dumps({**found, "unreadable": unreadable}, indent=1))
            return
        by_kind: dict[str, list[int]] = {}
        for file in garbage:
            name = "half-written" if file.sort == "temporary" else file.kind
            by_kind.setdefault(name, []).append(file.size)
        for name, sizes in by_kind.items():
            typer.echo(f"{name:12}  {len(sizes):8,} files  {in_words(sum(sizes)):>12}")
        verb = "removed" if force else "would go"
        typer.echo(f"{root}: {len(files):,} files, {in_words(total)}, {verb}")
        if unreadable:
            typer.echo(f"--force would refuse: {_words(unreadable)}", err=True)
        elif files and not force:
            typer.echo("Nothing was removed; --force does it.")


def _named_anywhere(
    root: Path, keep: "Keep", repositories: list[Path]
) -> tuple[set[tuple[str, str]], dict[str, str]]:
    from hlclip.maintenance import named_items  # noqa: PLC0415
    from hlclip.store import repository  # noqa: PLC0415

    here = repository()
    if not repositories and not root.resolve().is_relative_to(here.resolve()):
        raise HlclipError(
            f"{root} lies outside of {here}, so other clones may use it: name each that "
            "does, as in --repository . --repository ../other-clone"
        )
    items: set[tuple[str, str]] = set()
    unreadable: dict[str, str] = {}
    for clone in repositories or [here]:
        named = named_items(clone.absolute(), keep)
        items |= named.items
        unreadable |= named.unreadable
    return items, unreadable


def _words(unreadable: dict[str, str]) -> str:
    lines = [f"  {name}: {reason}" for name, reason in unreadable.items()]
    return "\n".join(
        [
            "nobody can say which items these name:",
            *lines,
            "`dvc fetch --all-branches --all-tags --all-commits` gets their manifests from a "
            "remote; or delete the revision; or --keep workspace; or --skip-unreadable goes on",
        ]
    )
