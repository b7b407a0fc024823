"""The items that manifests name, in working trees and in all revisions of git.

Manifests are outs of DVC. In a working tree they are files in `outputs/`. For any other revision
git has dvc.lock with their md5, and DVC's cache (or remote) has the content.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import Item, Manifest, parse_manifests
from hlclip.maintenance.git import file_at, prefix, revisions, worktrees
from hlclip.maintenance.inventory import ItemName
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from dvc.repo import Repo

Keep = Literal["workspace", "references", "commits"]

STAGES = {"frames": "outputs/frames.json", "activations": "outputs/activations.json"}
"""Stage -> its manifests."""


class ReferencesError(HlclipError):
    """The manifests that name items cannot be found or read."""


@dataclass
class NamedItems:
    """The items that a repository's manifests name."""

    items: set[ItemName] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Revision or working tree -> the manifest that cannot be read, and why."""

    @contextmanager
    def reading(self, file: str, *sources: str) -> Iterator[None]:
        """If the file cannot be read, note it for the sources that name it."""
        try:
            yield
        except ValueError as error:
            self.unreadable.update(dict.fromkeys(sources, f"{file} cannot be read ({error})"))


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
                manifests |= parse_manifests((workspace / name).read_bytes())
            except ValueError as error:
                raise ReferencesError(
                    f"{workspace / name}: not a manifest ({error})",
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
    manifests: dict[tuple[str, str], list[str]] = {}  # path and md5 -> sources
    with ExitStack() as stack:
        repos = [stack.enter_context(repo) for repo in _repos(repository)]
        root = Path(repos[0].root_dir)
        locks: list[tuple[str, bytes]] = []
        for workspace in _workspaces(repos):
            source = str(workspace)
            for name in STAGES.values():
                # A manifest may not be made yet, or be about to be: dvc.lock may name its items.
                with suppress(FileNotFoundError), named.reading(name, source):
                    content = (workspace / name).read_bytes()
                    named.items.update(manifest_items(parse_manifests(content)))
            with suppress(FileNotFoundError):
                locks.append((source, (workspace / "dvc.lock").read_bytes()))
        if keep != "workspace":
            locks += file_at(root, revisions(root, history=keep == "commits"), "dvc.lock")
        for source, lock in locks:
            with named.reading("dvc.lock", source):
                for manifest in _locked_manifests(lock):
                    manifests.setdefault(manifest, []).append(source)
        for (path, md5), sources in manifests.items():
            with named.reading(f"{path}, md5 {md5}", *sources):
                named.items.update(manifest_items(parse_manifests(_content(repos, md5))))
    return named


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
    for tree in worktrees(root, "worktree"):
        # A branch without DVC, or a working tree whose folder was deleted.
        with suppress(NotDvcRepoError, FileNotFoundError):
            folder = Path(tree) / prefix(root)
            if not folder.samefile(root):
                repos.append(Repo(str(folder)))
    return repos


def _locked_manifests(lock: bytes) -> list[tuple[str, str]]:
    """Path and md5 of each manifest that a dvc.lock names."""
    try:
        stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
        outs = [out for stage in STAGES for out in stages.get(stage, {}).get("outs", ())]
        return [(out["path"], out["md5"]) for out in outs]
    except (YAMLError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(error) from error


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
        below = prefix(root)
        for copies in (".dvc/tmp/exps", ".dvc/tmp/exps/standalone"):  # of the queue, of --temp
            folders = sorted(copy / below for copy in (root / copies).glob("*"))
            yield from (folder for folder in folders if folder.is_dir())
