"""The items that manifests name, in working trees and in all revisions of git.

Manifests are outs of DVC. In a working tree they are files in `outputs/`. For any other revision
git has dvc.lock with their md5, and DVC's cache (or remote) has the content.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from hlclip.formats import Item, Manifest, parse_manifests
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
    remotes: list[str] = field(default_factory=list)
    """Names of the repository's DVC remotes."""

    @contextmanager
    def reading(self, file: str, *sources: str) -> Iterator[None]:
        """If the file cannot be read, note it for the sources that name it."""
        try:
            yield
        except ValueError as error:
            self.unreadable.update(dict.fromkeys(sources, f"{file} cannot be read ({error})"))


def unreadable_error(unreadable: Mapping[str, str], remotes: Collection[str]) -> ReferencesError:
    """The error for manifests that cannot be read; arguments as in `NamedItems`."""
    manifests = "".join(f"\n  {name}: {reason}" for name, reason in unreadable.items())
    fetch = (
        "`dvc fetch --all-branches --all-tags --all-commits` gets them from the remote; or "
        if remotes
        else "there is no DVC remote to fetch them from: "
    )
    return ReferencesError(
        f"these manifests cannot be read, so their items are unknown:{manifests}",
        f"{fetch}delete the revision; or use --keep workspace; or use --skip-unreadable",
    )


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
        named.remotes.extend(repos[0].config["remote"])
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
            locks += _committed_locks(root, _revisions(root, history=keep == "commits"))
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
    for tree in _worktrees(root, "worktree"):
        # A branch without DVC, or a working tree whose folder was deleted.
        with suppress(NotDvcRepoError, FileNotFoundError):
            folder = Path(tree) / _prefix(root)
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
    """A manifest from one of DVC's caches, else its remote; ValueError if none has it whole."""
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
        below = _prefix(root)
        for copies in (".dvc/tmp/exps", ".dvc/tmp/exps/standalone"):  # of the queue, of --temp
            folders = sorted(copy / below for copy in (root / copies).glob("*"))
            yield from (folder for folder in folders if folder.is_dir())


def _worktrees(root: Path, field_name: str) -> list[str]:
    """A field of each of git's working trees: `worktree` (its folder) or `HEAD` (its commit)."""
    lines = _git(root, "worktree", "list", "--porcelain", "-z").decode().split("\0")
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{field_name} ")]


def _revisions(root: Path, *, history: bool) -> dict[str, str]:
    """Commit -> name, of branches, tags, DVC's experiments, stash entries and working trees.

    `history` adds all commits before these.
    """
    fields = "--format=%(objectname) %(objecttype) %(*objectname) %(refname)"
    references = ("refs/heads", "refs/tags", "refs/exps", "refs/stash")
    commits: dict[str, str] = {}
    for line in _git(root, "for-each-ref", fields, *references).decode().splitlines():
        object_name, object_type, tagged, name = line.split(" ", 3)
        if name.endswith(("/stash", "/failed")):
            # The reference is the last entry of a stash; earlier ones are only in its log. The
            # parents of an entry hold the index and the untracked files.
            log = _git(root, "log", "--walk-reflogs", "--format=%H %P", name).decode()
            for number, entry in enumerate(log.splitlines()):
                commits.update(dict.fromkeys(entry.split(), f"{name}@{{{number}}}"))
        commits.setdefault(tagged if object_type == "tag" else object_name, name)
    heads = _worktrees(root, "HEAD")
    commits.update({head: "HEAD" for head in heads if head not in commits and int(head, 16)})
    if history and commits:
        every = _git(root, "rev-list", "--stdin", stdin="\n".join(commits)).decode().split()
        commits = {**dict(zip(every, every, strict=True)), **commits}
    return commits


def _committed_locks(root: Path, commits: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """(name, content) of dvc.lock for each of these commits that has it."""
    path = f"{_prefix(root)}dvc.lock"
    objects = "".join(f"{commit}:{path}\n" for commit in commits)
    output = _git(root, "cat-file", "--batch", stdin=objects)
    position = 0
    for name in commits.values():
        end = output.index(b"\n", position)
        facts = output[position:end].split()  # object name, type, size; or "<object> missing"
        position = end + 1
        if len(facts) == 3 and facts[1] == b"blob":
            size = int(facts[2])
            yield name, output[position : position + size]
            position += size + 1


def _prefix(root: Path) -> str:
    """The path of `root` below git's own root: empty, or with a slash at the end."""
    return _git(root, "rev-parse", "--show-prefix").decode().rstrip("\n")


def _git(root: Path, *arguments: str, stdin: str = "") -> bytes:
    """What git prints; nothing outside of a git repository."""
    if not any((folder / ".git").exists() for folder in (root, *root.parents)):
        return b""
    git = shutil.which("git")
    if git is None:
        raise ReferencesError("git is not on PATH; hlclip asks it for the branches that name items")
    result = subprocess.run(
        [git, "-C", str(root), *arguments], input=stdin.encode(), capture_output=True, check=False
    )
    if result.returncode:
        raise ReferencesError(f"git {arguments[0]} in {root}: {result.stderr.decode().strip()}")
    return result.stdout
