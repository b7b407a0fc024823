"""`hlclip store gc`: remove the items that no manifest names."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from typer import Option

from hlclip.cli.terminal import Json, print_json
from hlclip.system import HlclipError, in_words

if TYPE_CHECKING:
    from hlclip.maintenance import Keep, StoredFile


def gc(
    force: Annotated[
        bool, Option("--force", "--yes", help="Remove the files, instead of counting them.")
    ] = False,
    keep: Annotated[
        Literal["workspace", "references", "commits"],
        Option(
            help="Keep what the working trees name; or also what the tips of branches, tags, "
            "experiments, queued tasks and stashes name; or also what all earlier commits name."
        ),
    ] = "references",
    clones: Annotated[
        list[Path] | None,
        Option(
            "--repository",
            metavar="FOLDER",
            help="A clone that uses the store; repeatable. Needed if the store is outside of this "
            "clone. Default: this clone.",
        ),
    ] = None,
    skip_unreadable: Annotated[
        bool,
        Option(
            "--skip-unreadable", help="Ignore unreadable manifests; may remove items they name."
        ),
    ] = False,
    features: Annotated[
        bool,
        Option(
            "--features",
            help="Also features of your own videos, and states of interrupted trainings.",
        ),
    ] = False,
    older_than: Annotated[
        float, Option(metavar="DAYS", min=0, help="Only files older than this.")
    ] = 0,
    json: Json = False,
) -> None:
    """List the files that no manifest names; with --force, remove them.

    An item stays while a manifest names it: of any working tree, branch, tag, DVC experiment
    (also queued and running ones) or stash. Without --force nothing is removed. While a run adds
    to the store, nothing can be removed.

    \b
    Examples:
      hlclip store gc                                    lists, removes nothing
      hlclip store gc --force
      hlclip store gc --keep workspace --force           keeps only what is checked out
      hlclip store gc --features --older-than 30         also features older than a month
      hlclip store gc --repository . --repository ../other-clone
    """
    from hlclip.maintenance import find_garbage, remove_garbage
    from hlclip.store import store_root

    root = store_root()
    unreadable: dict[str, str] = {}

    def find() -> "list[StoredFile]":
        items, gaps = _named_anywhere(root, keep, clones or [])
        if not skip_unreadable:
            unreadable.update(gaps)
        if force and unreadable:
            raise _unreadable_error(unreadable)
        return find_garbage(root, items, features=features, older_than_days=older_than)

    garbage = remove_garbage(root, find) if force else find()
    total = sum(file.size for file in garbage)
    if json:
        files = [{"path": str(file.path), "bytes": file.size} for file in garbage]
        facts = {"store": str(root), "removed": force, "bytes": total, "files": files}
        print_json({**facts, "unreadable": unreadable})
        return
    sizes: dict[str, list[int]] = defaultdict(list)
    for file in garbage:
        sizes["half-written" if file.sort == "temporary" else file.kind].append(file.size)
    for kind, values in sizes.items():
        typer.echo(f"{kind:12}  {len(values):8,} files  {in_words(sum(values)):>12}")
    verb = "removed" if force else "would be removed"
    typer.echo(f"{root}: {len(garbage):,} files, {in_words(total)}, {verb}")
    if unreadable:
        typer.echo(f"--force would refuse: {_unreadable_error(unreadable)}", err=True)
    elif garbage and not force:
        typer.echo("Nothing was removed; --force removes these files.")


def _named_anywhere(
    root: Path, keep: "Keep", clones: list[Path]
) -> tuple[set[tuple[str, str]], dict[str, str]]:
    """(kind, key) of the items that the clones name, and manifest -> why it cannot be read."""
    from hlclip.maintenance import named_items
    from hlclip.store import repository

    here = repository()
    if not clones and not root.resolve().is_relative_to(here.resolve()):
        raise HlclipError(
            f"{root} lies outside of {here}, so other clones may use it",
            "name each clone that does, as in --repository . --repository ../other-clone",
        )
    items: set[tuple[str, str]] = set()
    unreadable: dict[str, str] = {}
    for clone in clones or [here]:
        named = named_items(clone.absolute(), keep)
        items |= named.items
        unreadable |= named.unreadable
    return items, unreadable


def _unreadable_error(unreadable: dict[str, str]) -> HlclipError:
    lines = [f"  {name}: {reason}" for name, reason in unreadable.items()]
    return HlclipError(
        "\n".join(["these manifests cannot be read, so their items are unknown:", *lines]),
        "`dvc fetch --all-branches --all-tags --all-commits` gets them from a remote; or delete "
        "the revision; or use --keep workspace; or use --skip-unreadable",
    )
