"""Which items of a store are named: by the manifests here, and by those of git's references.

Manifests are outs of DVC. In a workspace they lie in `outputs/`; of any other revision dvc.lock,
which git has, tells their md5, and DVC's cache (or remote) has the content.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.errors import HlclipError
from hlclip.manifests import Manifest, parse_manifests

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
        except (ValueError, LookupError, TypeError) as error:
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
    from dvc.exceptions import DvcException  # noqa: PLC0415 (DVC: half a second)
    from dvc.repo import Repo  # noqa: PLC0415

    named = Named()
    try:
        repo = Repo(str(repository))
    except DvcException as error:
        raise ReferencesError(
            f"{repository}: {error}; name the clones that use the store with --repository"
        ) from error
    with repo:
        root = Path(repo.root_dir)
        wanted: dict[_Locked, list[str]] = {}
        for workspace in _workspaces(root):
            _read_workspace(workspace, named)
            lock = workspace / "dvc.lock"
            if lock.is_file():
                _collect(lock.read_bytes(), str(workspace), wanted, named)
        if keep != "workspace" and _in_git(root):
            for revision, lock in _locks(root, _revisions(root, keep)):
                _collect(lock, revision, wanted, named)
        for locked, revisions in wanted.items():
            try:
                named.add(_content(repo, locked))
            except (ValueError, LookupError, TypeError) as error:
                reason = f"{locked.path}, md5 {locked.md5}: {error}"
                named.unreadable.update(dict.fromkeys(revisions, reason))
    return named


def _read_workspace(workspace: Path, named: Named) -> None:
    for name in STAGES.values():
        try:
            named.add((workspace / name).read_bytes())
        except FileNotFoundError:
            continue  # not made yet, or about to be: dvc.lock may know more
        except (ValueError, LookupError, TypeError) as error:
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


def _content(repo: "Repo", locked: _Locked) -> bytes:
    """A manifest out of DVC's cache, or else its remote."""
    path = Path(repo.cache.local.oid_to_path(locked.md5))
    if path.is_file() and _is(content := path.read_bytes(), locked):
        return content
    if repo.config["remote"]:
        from dvc.exceptions import DvcException  # noqa: PLC0415

        try:
            remote = repo.cloud.get_remote_odb(hash_name="md5")
            if _is(content := remote.fs.cat_file(remote.oid_to_path(locked.md5)), locked):
                return content
        except (DvcException, OSError) as error:
            raise ValueError(f"neither in DVC's cache nor in its remote ({error})") from error
    raise ValueError("damaged in DVC's cache" if path.is_file() else "not in DVC's cache")


def _is(content: bytes, locked: _Locked) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == locked.md5


def _workspaces(root: Path) -> Iterator[Path]:
    """All working trees of the repository, and DVC's temporary ones of running experiments."""
    trees = [root]
    if _in_git(root):
        prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
        listed = _git(root, "worktree", "list", "--porcelain", "-z").decode().split("\0")
        found = [line.removeprefix("worktree ") for line in listed if line.startswith("worktree ")]
        trees = sorted({root, *(Path(tree) / prefix for tree in found)})
    for tree in trees:
        yield tree
        yield from sorted(path for path in (tree / ".dvc/tmp/exps").glob("*") if path.is_dir())


def _revisions(root: Path, keep: Keep) -> dict[str, str]:
    """Commit -> name, of all references, of what they were before in stashes, of detached HEADs."""
    listed = _git(
        root,
        "for-each-ref",
        "--format=%(objectname) %(objecttype) %(*objectname) %(refname)",
        "refs/heads",
        "refs/tags",
        "refs/exps",
        "refs/stash",
    ).decode()
    commits: dict[str, str] = {}
    for line in listed.splitlines():
        object_name, object_type, tagged, name = line.split(" ", 3)
        if name.endswith(("/stash", "/failed")):
            # Older entries of a stash are in its log alone; parents hold the index and new files.
            log = _git(root, "log", "--walk-reflogs", "--format=%H %P", name).decode()
            for number, entry in enumerate(log.splitlines()):
                commits.update(dict.fromkeys(entry.split(), f"{name}@{{{number}}}"))
        commits.setdefault(tagged if object_type == "tag" else object_name, name)
    trees = _git(root, "worktree", "list", "--porcelain", "-z").decode().split("\0")
    heads = [line.removeprefix("HEAD ") for line in trees if line.startswith("HEAD ")]
    commits.update({head: "HEAD" for head in heads if head not in commits and int(head, 16)})
    if keep == "commits" and commits:
        every = _git(root, "rev-list", "--stdin", given="\n".join(commits)).decode().split()
        commits = {**dict(zip(every, every, strict=True)), **commits}
    return commits


def _locks(root: Path, commits: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """(name, dvc.lock) of the commits that have one; equal ones once, names joined."""
    prefix = _git(root, "rev-parse", "--show-prefix").decode().strip()
    asked = "".join(f"{commit}:{prefix}dvc.lock\n" for commit in commits)
    answer = _git(root, "cat-file", "--batch", given=asked)
    position = 0
    for name in commits.values():
        end = answer.index(b"\n", position)
        facts = answer[position:end].split()
        position = end + 1
        if len(facts) == 3 and facts[1] == b"blob":
            size = int(facts[2])
            yield name, answer[position : position + size]
            position += size + 1


def _in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _git(root: Path, *arguments: str, given: str = "") -> bytes:
    git = shutil.which("git")
    if git is None:
        raise ReferencesError("git is not on PATH; it knows the branches that name items")
    ended = subprocess.run(
        [git, "-C", str(root), *arguments], input=given.encode(), capture_output=True, check=False
    )
    if ended.returncode:
        raise ReferencesError(f"git {arguments[0]} in {root}: {ended.stderr.decode().strip()}")
    return ended.stdout
