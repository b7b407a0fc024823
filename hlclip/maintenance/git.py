"""Git's working trees and commits, those too that only DVC or the stash remember."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from hlclip.system import HlclipError


class GitError(HlclipError):
    """git is missing, or cannot do what is asked; the message is its own."""


def worktrees(root: Path, field_name: str) -> list[str]:
    """A field of all of git's working trees: `worktree`, its folder, or `HEAD`, its commit."""
    lines = _git(root, "worktree", "list", "--porcelain", "-z").decode().split("\0")
    return [line.split(" ", 1)[1] for line in lines if line.startswith(f"{field_name} ")]


def revisions(root: Path, *, history: bool) -> dict[str, str]:
    """Commit -> name, of branches, tags, DVC's experiments, stash entries and working trees.

    Args:
        history: also all commits before these.
    """
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
    heads = worktrees(root, "HEAD")
    commits.update({head: "HEAD" for head in heads if head not in commits and int(head, 16)})
    if history and commits:
        every = _git(root, "rev-list", "--stdin", given="\n".join(commits)).decode().split()
        commits = {**dict(zip(every, every, strict=True)), **commits}
    return commits


def file_at(root: Path, commits: Mapping[str, str], path: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of a file, `path` below `root`, in the commits that have it.

    Args:
        commits: see `revisions`.
    """
    below = prefix(root)
    asked = "".join(f"{commit}:{below}{path}\n" for commit in commits)
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


def prefix(root: Path) -> str:
    """Where `root` lies below git's own root: empty, or with a slash at the end."""
    return _git(root, "rev-parse", "--show-prefix").decode().rstrip("\n")


def in_git(root: Path) -> bool:
    """Is there a repository around this folder?"""
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _git(root: Path, *arguments: str, given: str = "") -> bytes:
    git = shutil.which("git")
    if git is None:
        raise GitError("git is not on PATH; it knows the branches that name items")
    ended = subprocess.run(
        [git, "-C", str(root), *arguments], input=given.encode(), capture_output=True, check=False
    )
    if ended.returncode:
        raise GitError(f"git {arguments[0]} in {root}: {ended.stderr.decode().strip()}")
    return ended.stdout
