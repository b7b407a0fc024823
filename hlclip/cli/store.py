"""The store: cached frames, activations and features.

\b
Examples:
  hlclip store status             where it is, what it holds
  hlclip store verify             reads every file, names each damaged one
  hlclip store gc                 what could be removed; --force removes it
  hlclip store export /mnt/usb    then, on another machine: hlclip store import /mnt/usb
  hlclip store push s3://b/c      then, on another machine: hlclip store pull s3://b/c
"""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from typer import Exit, Option, Typer, confirm, echo

from hlclip.cli.copies import Bucket, add_copies, print_remote_status
from hlclip.cli.terminal import Command, Json, print_json
from hlclip.system import HlclipError, in_words

store = Typer(no_args_is_help=True, help=__doc__)


@store.command(cls=Command)
def status(url: Annotated[str | None, Bucket] = None, json: Json = False) -> None:
    """Where the store is, what it holds, and how much of that this workspace names.

    The store is $HLCLIP_STORE, else .hlclip/store of the project around this folder, else your own,
    which has a limit.

    `named` counts the items that outputs/frames.json and outputs/activations.json name. No manifest
    names features of your own videos, training results or states of interrupted trainings. With a
    URL: what object storage holds, and what `push` and `pull` would copy.

    \b
    Examples:
      hlclip store status
      HLCLIP_STORE=/data/store hlclip store status --json
      hlclip store status s3://bucket/hlclip
    """
    from tabulate import tabulate

    from hlclip.maintenance import store_status, workspace_items
    from hlclip.store import find_store, repository

    if url is not None:
        print_remote_status(url, json=json)
        return
    place = find_store()
    root, contents = place.root, store_status(place.root, workspace_items(repository()))
    if json:
        facts = {"store": root, "why": place.why, "limit": place.limit, **asdict(contents)}
        print_json(facts)
        return
    echo(f"{root} ({place.why})")
    if place.limit is not None:
        echo(f"  at most {in_words(place.limit)}: beyond, what was not used for longest is removed")
    if not root.is_dir():
        echo("  does not exist yet; `dvc repro` or `hlclip highlight` makes it")
    elif not contents.kinds:
        echo("  empty")
    else:
        rows = [("kind", "files", "size", "named", "unnamed", "format")]
        for name, kind in sorted(contents.kinds.items()):
            formats = ", ".join(f"{version}: {n:,}" for version, n in sorted(kind.formats.items()))
            sizes = in_words(kind.bytes), f"{kind.named:,}", in_words(kind.unnamed_bytes)
            rows.append((name, f"{kind.files:,}", *sizes, formats))
        alignment = ("left", "right", "right", "right", "right", "left")
        echo(tabulate(rows, tablefmt="plain", colalign=alignment, disable_numparse=True))
    if contents.missing:
        echo(f"{contents.missing:,} items that this workspace names are not in the store")
    _list("half-written by a dead process (`hlclip store gc` removes it)", contents.temporary)
    _list("being written now", contents.being_written)
    _list("not hlclip's", contents.foreign)
    if contents.in_use:
        echo("in use by a run")


@store.command(cls=Command)
def verify(
    named: Annotated[
        bool, Option("--named", help="Only the items that this workspace's manifests name.")
    ] = False,
    remove: Annotated[
        bool, Option("--remove", help="Name the damaged files, then delete them.")
    ] = False,
    yes: Annotated[bool, Option("--yes", help="Do not ask before deleting.")] = False,
    videos: Annotated[
        Path | None,
        Option(
            metavar="FOLDER",
            help="data.root: decode its videos again; items made from other files are damaged.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read every file of the store to its last byte; name each damaged one.

    Exits with 1 if a file was damaged, even if --remove deleted it, or if the system refused to
    read one. --remove deletes only files whose bytes were read and are wrong. The next `dvc repro`
    makes missing items again. If DVC finds nothing changed, run `dvc repro --force STAGE` with the
    stage that verify names.

    \b
    Examples:
      hlclip store verify
      hlclip store verify --named             only what this workspace needs, in less time
      hlclip store verify --remove            asks, then deletes damaged files
      hlclip store verify --videos data       compares the frames with the videos
    """
    from hlclip.maintenance import (
        compare_frames,
        remove_damaged,
        verify_store,
        workspace_manifests,
    )
    from hlclip.store import find_store, repository

    if remove and json and not yes:
        raise HlclipError("--json cannot ask before deleting", "give --yes with --remove")
    root, here = find_store().root, repository()
    foreign, skipped = compare_frames(root, here, data_root=videos) if videos else ([], [])
    result = verify_store(root, workspace_manifests(here), everything=not named, foreign=foreign)
    result.unmet.extend(skipped)
    if json:
        print_json({"store": root, **asdict(result)})
    else:
        unreadable = f", {len(result.unreadable):,} unreadable" if result.unreadable else ""
        damaged = f"{len(result.damaged):,} damaged{unreadable}"
        echo(f"{root}: {result.whole:,} files are whole, {damaged}")
        for file in result.damaged:
            echo(f"damaged: {file.path}: {file.reason}; {file.remedy}")
        for file in result.unreadable:
            echo(f"unreadable, never deleted: {file.path}: {file.reason}; {file.remedy}")
        for file in result.unmet:
            echo(f"named by outputs/ here, but: {file.path}: {file.reason}; {file.remedy}")
    if remove and result.damaged:
        if not yes:
            confirm(f"Delete these {len(result.damaged):,} files?", abort=True)
        remaining = [file.path for file in result.damaged if not remove_damaged(file.path)]
        _list("not deleted, because it is a folder with files in it: move it away", remaining)
    if result.damaged or result.unreadable or result.unmet:
        raise Exit(1)


@store.command(cls=Command)
def gc(
    force: Annotated[
        bool, Option("--force", "--yes", help="Remove the files; without it they are only listed.")
    ] = False,
    keep: Annotated[
        Literal["workspace", "references", "commits"],
        Option(
            help="workspace: keep what working trees name; references: also what branches, tags, "
            "experiments, queued tasks and stashes name; commits: also what earlier commits name."
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
        Option("--skip-unreadable", help="Ignore unreadable manifests, and what only they name."),
    ] = False,
    features: Annotated[
        bool,
        Option(
            "--features",
            help="Also files that no manifest names: features, training results, and states of "
            "interrupted trainings.",
        ),
    ] = False,
    older_than: Annotated[
        float, Option(metavar="DAYS", min=0, help="Only files older than this.")
    ] = 0,
    json: Json = False,
) -> None:
    """List the files that no manifest names; with --force, remove them.

    An item stays while a manifest of any working tree, branch, tag, stash or DVC experiment
    (queued, running or failed) names it. Without --force nothing is removed. While a run adds
    to the store, nothing can be removed.

    \b
    Examples:
      hlclip store gc                                    lists, removes nothing
      hlclip store gc --force
      hlclip store gc --keep workspace --force           keeps only what is checked out
      hlclip store gc --features --older-than 30         also features older than a month
      hlclip store gc --repository . --repository ../other-clone
    """
    from hlclip.maintenance import find_garbage, named_items, remove_garbage, unreadable_error
    from hlclip.store import find_store, repository

    place, here = find_store(), repository()
    root, own = place.root, place.limit is not None
    if not own and not clones and not root.resolve().is_relative_to(here.resolve()):
        raise HlclipError(
            f"{root} lies outside of {here}, so other clones may use it",
            "name each clone that does, as in --repository . --repository ../other-clone",
        )
    items: set[tuple[str, str]] = set()
    unreadable: dict[str, str] = {}
    remotes: list[str] = []

    def find():
        for clone in clones or ([] if own else [here]):  # no manifest names your own videos
            named = named_items(clone.absolute(), keep)
            items.update(named.items)
            remotes.extend(named.remotes)
            if not skip_unreadable:
                unreadable.update(named.unreadable)
        if force and unreadable:
            raise unreadable_error(unreadable, remotes)
        return find_garbage(root, items, features=features, older_than_days=older_than)

    garbage = remove_garbage(root, find) if force else find()
    total = sum(file.size for file in garbage)
    if json:
        files = [{"path": file.path, "bytes": file.size} for file in garbage]
        facts = {"store": root, "removed": force, "bytes": total, "files": files}
        print_json({**facts, "unreadable": unreadable})
        return
    sizes: dict[str, list[int]] = defaultdict(list)
    for file in garbage:
        sizes["half-written" if file.sort == "temporary" else file.kind].append(file.size)
    for kind, values in sizes.items():
        echo(f"{kind:12}  {len(values):8,} files  {in_words(sum(values)):>12}")
    verb = "removed" if force else "would be removed"
    echo(f"{root}: {len(garbage):,} files, {in_words(total)}, {verb}")
    if unreadable:
        echo(f"--force would refuse: {unreadable_error(unreadable, remotes)}", err=True)
    elif garbage and not force:
        echo("Nothing was removed; --force removes these files.")


def _list(about: str, paths: list[Path]) -> None:
    for path in paths:
        echo(f"{about}: {path}")


add_copies(store)
