"""Which items of a store are named: by the manifests here, and by those of git's references.

Manifests are outs of DVC. In a workspace they lie in `outputs/`; of any other revision dvc.lock,
which git has, tells their md5, and DVC's cache (or remote) has the content.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import Manifest, parse_manifests
from hlclip.maintenance.git import file_at, in_git, prefix, revisions, worktrees
from hlclip.system import HlclipError

if TYPE_CHECKING:
    from dvc.repo import Repo

Keep = Literal["workspace", "references", "commits"]

STAGES = {"frames": "outputs/frames.json", "activations": "outputs/activations.json"}
"""Stage -> its manifests."""


class ReferencesError(HlclipError):
    """Nobody can say which items are named."""


@dataclass
class Named:
    """Items that manifests name."""

    items: set[tuple[str, str]] = field(default_factory=set)
    """(kind, key)."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Revision or workspace -> the manifest that cannot be read, and why."""

    def add(self, content: bytes) -> None:
        for kind, manifest in parse_manifests(content).items():
            self.items.update((kind, item.key) for item in manifest.items.values())


@dataclass(frozen=True)
class _Locked:
    """A manifest that a dvc.lock names."""

    path: str
    md5: str


def workspace_manifests(workspace: Path) -> dict[str, Manifest]:
    """Kind -> manifest, as far as the stages have written them.

    Raises:
        ReferencesError: a manifest is damaged.
    """
    manifests: dict[str, Manifest] = {}
    for name in STAGES.values():
        path = workspace / name
        if not path.exists():
            continue
        try:
            manifests.update(parse_manifests(path.read_bytes()))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ReferencesError(
                f"{path}: not a manifest ({error}); `dvc checkout {name}` restores it, or "
                "`dvc repro` makes it anew"
            ) from error
    return manifests


def workspace_items(workspace: Path) -> set[tuple[str, str]]:
    """(kind, key) of what `workspace_manifests` name."""
    return {
        (kind, item.key)
        for kind, manifest in workspace_manifests(workspace).items()
        for item in manifest.items.values()
    }


def named_items(repository: Path, keep: Keep) -> Named:
    """The items that a repository's manifests name.

    Args:
        repository: folder with dvc.yaml.
        keep: `workspace` is what lies in the working trees of the repository, those of
            experiments that run elsewhere included; `references` also the tips of branches, tags,
            DVC's experiments, also queued ones, and stashes; `commits` also all commits before.

    Raises:
        ReferencesError: not a DVC repository.
    """
    named = Named()
    with ExitStack() as stack:
        repos = [stack.enter_context(repo) for repo in _repos(repository)]
        root = Path(repos[0].root_dir)
        wanted: dict[_Locked, list[str]] = {}
        for workspace in _workspaces(repos):
            _read_workspace(workspace, named)
            lock = workspace / "dvc.lock"
            if lock.is_file():
                _collect(lock.read_bytes(), str(workspace), wanted, named)
        if keep != "workspace" and in_git(root):
            commits = revisions(root, history=keep == "commits")
            for revision, lock in file_at(root, commits, "dvc.lock"):
                _collect(lock, revision, wanted, named)
        for locked, names in wanted.items():
            try:
                named.add(_content(repos, locked))
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                reason = f"{locked.path}, md5 {locked.md5}: {error}"
                named.unreadable.update(dict.fromkeys(names, reason))
    return named


def _repos(repository: Path) -> "list[Repo]":
    """DVC's view of the repository and of its other working trees, which have their own caches."""
    from dvc.exceptions import DvcException, NotDvcRepoError  # noqa: PLC0415 (half a second)
    from dvc.repo import Repo  # noqa: PLC0415

    try:
        repos = [Repo(str(repository))]
    except DvcException as error:
        raise ReferencesError(
            f"{repository}: {error}; name the clones that use the store with --repository"
        ) from error
    root = Path(repos[0].root_dir)
    if in_git(root):
        below = prefix(root)
        for tree in worktrees(root, "worktree"):
            with suppress(
                NotDvcRepoError, FileNotFoundError
            ):  # a branch without DVC, or a tree that is gone
                if not (Path(tree) / below).samefile(root):
                    repos.append(Repo(str(Path(tree) / below)))
    return repos


def _read_workspace(workspace: Path, named: Named) -> None:
    for name in STAGES.values():
        try:
            named.add((workspace / name).read_bytes())
        except FileNotFoundError:
            continue  # not made yet, or about to be: dvc.lock may know more
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            named.unreadable[str(workspace)] = f"{name}: not a manifest ({error})"


def _collect(lock: bytes, revision: str, wanted: dict[_Locked, list[str]], named: Named) -> None:
    try:
        stages = (YAML(typ="safe").load(lock) or {}).get("stages", {})
        for stage in STAGES:
            for out in stages.get(stage, {}).get("outs", ()):
                locked = _Locked(out["path"], out["md5"])
                wanted.setdefault(locked, []).append(revision)
    except (YAMLError, LookupError, AttributeError, TypeError) as error:
        named.unreadable[revision] = f"dvc.lock cannot be read ({error})"


def _content(repos: "list[Repo]", locked: _Locked) -> bytes:
    """A manifest out of a cache of DVC, or else its remote."""
    paths = [Path(repo.cache.local.oid_to_path(locked.md5)) for repo in repos]
    there = [path for path in paths if path.is_file()]
    for path in there:
        if _is(content := path.read_bytes(), locked):
            return content
    if repos[0].config["remote"]:
        from dvc.exceptions import DvcException  # noqa: PLC0415

        try:
            remote = repos[0].cloud.get_remote_odb(hash_name="md5")
            if _is(content := remote.fs.cat_file(remote.oid_to_path(locked.md5)), locked):
                return content
        except (DvcException, OSError) as error:
            raise ValueError(f"neither in DVC's cache nor in its remote ({error})") from error
    raise ValueError("damaged in DVC's cache" if there else "not in DVC's cache")


def _is(content: bytes, locked: _Locked) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == locked.md5


def _workspaces(repos: "list[Repo]") -> Iterator[Path]:
    """All working trees of the repository, and DVC's temporary ones of running experiments."""
    for repo in repos:
        root = Path(repo.root_dir)
        yield root
        below = prefix(root) if in_git(root) else ""
        experiments = root / ".dvc/tmp/exps"
        for copies in (experiments, experiments / "standalone"):  # of the queue, of --temp
            copied = (copy / below for copy in copies.glob("*"))
            yield from sorted(path for path in copied if path.is_dir())
