"""Git's working trees and commits, including those that only DVC or the stash refers to."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from hlclip.system import HlclipError


class GitError(HlclipError):
    """git is missing, or fails; the message is git's own."""


def worktrees(root: Path, field_name: str) -> list[str]:
    """A field of each of git's working trees: `worktree` (its folder) or `HEAD` (its commit)."""
    lines = _git(root, "worktree", "list", "--porcelain", "-z").decode().split("\0")
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{field_name} ")]


def revisions(root: Path, *, history: bool) -> dict[str, str]:
    """Commit -> name, of branches, tags, DVC's experiments, stash entries and working trees.

    Args:
        history: also all commits before these.
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
    heads = worktrees(root, "HEAD")
    commits.update({head: "HEAD" for head in heads if head not in commits and int(head, 16)})
    if history and commits:
        every = _git(root, "rev-list", "--stdin", stdin="\n".join(commits)).decode().split()
        commits = {**dict(zip(every, every, strict=True)), **commits}
    return commits


def file_at(root: Path, commits: Mapping[str, str], path: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of a file, `path` below `root`, for each commit that has it.

    Args:
        commits: see `revisions`.
    """
    below = prefix(root)
    objects = "".join(f"{commit}:{below}{path}\n" for commit in commits)
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


def prefix(root: Path) -> str:
    """The path of `root` below git's own root: empty, or with a slash at the end."""
    return _git(root, "rev-parse", "--show-prefix").decode().rstrip("\n")


def in_git(root: Path) -> bool:
    """Is this folder in a git repository?"""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _git(root: Path, *arguments: str, stdin: str = "") -> bytes:
    git = shutil.which("git")
    if git is None:
        raise GitError("git is not on PATH; hlclip asks it for the branches that name items")
    result = subprocess.run(
        [git, "-C", str(root), *arguments], input=stdin.encode(), capture_output=True, check=False
    )
    if result.returncode:
        raise GitError(f"git {arguments[0]} in {root}: {result.stderr.decode().strip()}")
    return result.stdout
