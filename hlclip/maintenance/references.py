"""The items that manifests name, in working trees and in all revisions of git.

Manifests are outs of DVC. In a working tree they are files in `outputs/`. For any other revision
git has dvc.lock with their md5, and DVC's cache (or remote) has the content.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import Item, Manifest, parse_manifests
from hlclip.maintenance.git import file_at, in_git, prefix, revisions, worktrees
from hlclip.maintenance.inventory import ItemName
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from dvc.repo import Repo

Keep = Literal["workspace", "references", "commits"]

STAGES = {"frames": "outputs/frames.json", "activations": "outputs/activations.json"}
"""Stage -> its manifests."""

Locked = tuple[str, str]
"""Path and md5 of a manifest that a dvc.lock names."""


class ReferencesError(HlclipError):
    """The manifests that name items cannot be found or read."""


@dataclass
class NamedItems:
    """The items that a repository's manifests name."""

    items: set[ItemName] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Revision or working tree -> the manifest that cannot be read, and why."""


def manifest_items(manifests: Mapping[str, Manifest]) -> dict[ItemName, Item]:
    """The items that manifests, by kind, name."""
    return {
        (kind, item.key): item
        for kind, manifest in manifests.items()
        for item in manifest.items.values()
    }


def workspace_manifests(workspace: Path) -> dict[str, Manifest]:
    """Kind -> manifest, for the stages that have written theirs.

    Raises:
        ReferencesError: a manifest is damaged.
    """
    manifests: dict[str, Manifest] = {}
    for name in STAGES.values():
        with suppress(FileNotFoundError):
            try:
                manifests |= _parse((workspace / name).read_bytes())
            except ValueError as error:
                raise ReferencesError(
                    f"{workspace / name}: {error}",
                    f"`dvc checkout {name}` restores it, `dvc repro` makes it again",
                ) from error
    return manifests


def workspace_items(workspace: Path) -> set[ItemName]:
    """The items that `workspace_manifests` name."""
    return set(manifest_items(workspace_manifests(workspace)))


def named_items(repository: Path, keep: Keep) -> NamedItems:
    """The items that a repository's manifests name.

    Args:
        repository: folder with dvc.yaml.
        keep: `workspace`: the manifests in the repository's working trees and in the temporary
            copies of running experiments. `references`: also those of branches, tags, DVC's
            experiments (queued ones too) and stashes. `commits`: also those of all earlier commits.

    Raises:
        ReferencesError: not a DVC repository.
    """
    named = NamedItems()
    locked: dict[Locked, list[str]] = {}
    with ExitStack() as stack:
        repos = [stack.enter_context(repo) for repo in _repos(repository)]
        root = Path(repos[0].root_dir)
        for workspace in _workspaces(repos):
            for name in STAGES.values():
                # A manifest may not be made yet, or be about to be: dvc.lock may name its items.
                with suppress(FileNotFoundError):
                    try:
                        named.items |= set(manifest_items(_parse((workspace / name).read_bytes())))
                    except ValueError as error:
                        named.unreadable[str(workspace)] = f"{name}: {error}"
            lock = workspace / "dvc.lock"
            if lock.is_file():
                _collect(lock.read_bytes(), str(workspace), locked, named)
        if keep != "workspace" and in_git(root):
            commits = revisions(root, history=keep == "commits")
            for revision, content in file_at(root, commits, "dvc.lock"):
                _collect(content, revision, locked, named)
        for (path, md5), names in locked.items():
            try:
                named.items |= set(manifest_items(_parse(_content(repos, md5))))
            except ValueError as error:
                reason = f"{path}, md5 {md5}: {error}"
                named.unreadable.update(dict.fromkeys(names, reason))
    return named


def _parse(content: bytes) -> dict[str, Manifest]:
    try:
        return parse_manifests(content)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"not a manifest ({error})") from error


def _repos(repository: Path) -> "list[Repo]":
    """DVC's view of the repository and of its other working trees, which have their own caches."""
    from dvc.exceptions import DvcException, NotDvcRepoError  # noqa: PLC0415 (half a second)
    from dvc.repo import Repo  # noqa: PLC0415 (half a second)

    try:
        repos = [Repo(str(repository))]
    except DvcException as error:
        raise ReferencesError(
            f"{repository}: {error}", "name the clones that use the store with --repository"
        ) from error
    root = Path(repos[0].root_dir)
    if in_git(root):
        below = prefix(root)
        for tree in worktrees(root, "worktree"):
            # A branch without DVC, or a working tree whose folder was deleted.
            with suppress(NotDvcRepoError, FileNotFoundError):
                if not (Path(tree) / below).samefile(root):
                    repos.append(Repo(str(Path(tree) / below)))
    return repos


def _collect(
    lock: bytes, revision: str, locked: dict[Locked, list[str]], named: NamedItems
) -> None:
    """Add the manifests that a dvc.lock names to `locked`, with the revision of the dvc.lock."""
    try:
        stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
        for stage in STAGES:
            for out in stages.get(stage, {}).get("outs", ()):
                locked.setdefault((out["path"], out["md5"]), []).append(revision)
    except (YAMLError, LookupError, AttributeError, TypeError) as error:
        named.unreadable[revision] = f"dvc.lock cannot be read ({error})"


def _content(repos: "list[Repo]", md5: str) -> bytes:
    """A manifest from one of DVC's caches, else from its remote.

    Raises:
        ValueError: none has it whole.
    """
    paths = [Path(repo.cache.local.oid_to_path(md5)) for repo in repos]
    cached = [path.read_bytes() for path in paths if path.is_file()]
    for content in cached:
        if _md5(content) == md5:
            return content
    if repos[0].config["remote"]:
        from dvc.exceptions import DvcException  # noqa: PLC0415 (half a second)

        try:
            remote = repos[0].cloud.get_remote_odb(hash_name="md5")
            content = remote.fs.cat_file(remote.oid_to_path(md5))
        except (DvcException, OSError) as error:
            raise ValueError(f"neither in DVC's cache nor in its remote ({error})") from error
        if _md5(content) == md5:
            return content
    raise ValueError("damaged in DVC's cache" if cached else "not in DVC's cache")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _workspaces(repos: "list[Repo]") -> Iterator[Path]:
    """All working trees of the repository, and DVC's temporary copies for running experiments."""
    for repo in repos:
        root = Path(repo.root_dir)
        yield root
        below = prefix(root) if in_git(root) else ""
        experiments = root / ".dvc/tmp/exps"
        for copies in (experiments, experiments / "standalone"):  # of the queue, of --temp
            yield from sorted(copy / below for copy in copies.glob("*") if (copy / below).is_dir())
