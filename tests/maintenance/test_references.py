"""Whatever git or DVC can bring back is named; what cannot be read is said."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dvc.repo import Repo

from hlclip.maintenance.references import (
    Keep,
    ReferencesError,
    named_items,
    workspace_items,
    workspace_manifests,
)
from tests.stored import (
    DVC_YAML,
    HEADERS,
    commit,
    files,
    git,
    make_repository,
    put_data_set,
    run_stages,
)

MANY = int(os.environ.get("HLCLIP_KILLS", "0")) >= 20
WHO = ("AUTHOR", "COMMITTER")
VIDS = ("first", "main", "branch", "tag", "stash", "queued", "done", "tree", "now", "temp", "alone")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """`first` is what main named once, `main` what it names."""
    folder = tmp_path / "project"
    make_repository(folder)
    for vid in ("first", "main"):
        run_stages(folder, store(folder), vid)
        commit(folder)
    return folder


def store(folder: Path) -> Path:
    return folder / ".hlclip/store"


def vids_kept(folder: Path, keep: Keep = "references") -> set[str]:
    """Videos all of whose items are named."""
    named = named_items(folder, keep)
    assert named.unreadable == {}
    kept: set[str] = set()
    for vid in VIDS:
        scratch = folder.parent / "scratch"
        wanted = put_data_set(scratch, scratch, vid)
        items = {(kind, m.items[vid].key) for kind, m in wanted.items()}
        if items <= named.items:
            kept.add(vid)
        else:
            assert not items & named.items
    return kept


def test_every_reference_names_items(project: Path) -> None:
    root = store(project)

    def state(vid: str) -> str:
        """A commit of this state, on no branch."""
        git(project, "checkout", "-q", "--detach")
        run_stages(project, root, vid)
        return commit(project)

    git(project, "branch", "side", state("branch"))
    git(project, "checkout", "-q", "main")
    git(project, "tag", "-a", "-m", "annotated", "v1", state("tag"))
    git(project, "checkout", "-q", "main")
    git(project, "update-ref", f"refs/exps/ab/{'c' * 38}/nice-name", state("done"))
    git(project, "checkout", "-q", "main")
    git(project, "update-ref", "refs/exps/celery/stash", state("queued"))
    git(project, "checkout", "-q", "main")
    for vid in ("stash", "now"):  # two entries: the older one is in the reference's log alone
        run_stages(project, root, vid)
        git(project, "stash")
    git(project, "worktree", "add", "-q", "--detach", str(project.parent / "tree"))
    run_stages(project.parent / "tree", root, "tree")
    put_data_set(root, project / ".dvc/tmp/exps/tmpabc", "temp")
    put_data_set(root, project / ".dvc/tmp/exps/standalone/tmpdef", "alone")
    run_stages(project, root, "main")

    others = {"branch", "tag", "done", "queued", "stash", "now"}
    trees = {"main", "tree", "temp", "alone"}
    assert vids_kept(project) == others | trees
    assert vids_kept(project, "workspace") == trees
    assert vids_kept(project, "commits") == others | trees | {"first"}
    assert vids_kept(project.parent / "tree") == others | trees


def test_a_workspace_without_its_outputs_is_known_from_the_lock(project: Path) -> None:
    shutil.rmtree(project / "outputs")
    assert vids_kept(project, "workspace") == {"main"}


def test_a_project_below_its_git_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    folder = tmp_path / "a folder"
    folder.mkdir()
    Repo.init(str(folder), subdir=True).close()
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "vids").write_text("")
    (folder / ".gitignore").write_text("/outputs/\n/.hlclip/\n")
    run_stages(folder, store(folder), "branch")
    git(tmp_path, "branch", "side", commit(folder))
    run_stages(folder, store(folder), "main")
    assert vids_kept(folder) == {"branch", "main"}


LOOK = """
import sys
from pathlib import Path
from hlclip.maintenance.references import named_items
from tests.stored import put_data_set

manifests = put_data_set(Path("store"), Path(), "running")
wanted = {(kind, m.items["running"].key) for kind, m in manifests.items()}
named = named_items(Path(sys.argv[1]), "workspace")
Path(sys.argv[2]).write_text(f"{len(wanted & named.items)} of {len(wanted)}")
"""


QUEUE = pytest.param(
    "--queue", marks=pytest.mark.skipif(not MANY, reason="run when HLCLIP_KILLS is 20 or more")
)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--temp", QUEUE])
@pytest.mark.parametrize("below", ["", "a folder"])
def test_what_an_experiment_has_made_is_named_while_it_runs(
    tmp_path: Path, below: str, how: str
) -> None:
    """Wherever DVC makes the copy that it runs in."""
    folder, said = tmp_path / "git" / below, tmp_path / "said"
    folder.mkdir(parents=True)
    git(tmp_path / "git", "init", "-q", "-b", "main")
    Repo.init(str(folder), subdir=bool(below)).close()
    (folder / "look.py").write_text(LOOK)
    command = f"'{sys.executable}' look.py '{folder}' '{said}'"
    (folder / "dvc.yaml").write_text(
        f'stages:\n  look:\n    cmd: "{command}"\n    deps: [look.py]\n'
    )
    commit(folder)
    identity = {f"GIT_{who}_{what}": "t@t" for who in WHO for what in ("NAME", "EMAIL")}
    for arguments in ([how], ["--run-all"])[: 2 if how == "--queue" else 1]:
        subprocess.run(
            [Path(sys.executable).with_name("dvc"), "exp", "run", *arguments],
            cwd=folder,
            env=os.environ | identity | {"PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
        )
    assert said.read_text() == "3 of 3"


def test_a_manifest_that_nobody_has_is_said(project: Path) -> None:
    git(project, "tag", "v1", "HEAD~1")
    for path in (project / ".dvc/cache/files/md5").glob("*/*"):
        path.unlink()
    unreadable = named_items(project, "references").unreadable
    assert set(unreadable) == {str(project), "refs/heads/main", "refs/tags/v1"}
    assert "outputs/activations.json, md5 " in unreadable["refs/tags/v1"]
    assert "not in DVC's cache" in unreadable["refs/tags/v1"]


def test_a_manifest_is_read_from_the_remote(project: Path, tmp_path: Path) -> None:
    git(project, "tag", "v1", "HEAD~1")
    (project / ".dvc/config").write_text(
        f"[core]\nremote = r\n['remote \"r\"']\nurl = {tmp_path / 'remote'}\n"
    )
    shutil.move(project / ".dvc/cache", tmp_path / "remote")  # both are laid out alike
    assert vids_kept(project) == {"first", "main"}
    assert not (project / ".dvc/cache/files").exists()
    shutil.rmtree(tmp_path / "remote")
    assert "nor in its remote" in named_items(project, "references").unreadable["refs/tags/v1"]


def test_damage_is_said_and_nothing_else_believed(project: Path) -> None:
    for path in (project / ".dvc/cache/files/md5").glob("*/*"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"a", b"b"))
    (project / "outputs/frames.json").unlink()
    (project / "outputs/frames.json").write_text('{"frames": {}}')
    unreadable = named_items(project, "workspace").unreadable
    assert "damaged in DVC's cache" in unreadable[str(project)]
    with pytest.raises(ReferencesError, match=r"frames\.json: not a manifest.*\n`dvc checkout"):
        workspace_manifests(project)
    (project / "dvc.lock").write_text("stages: [1")
    assert "dvc.lock cannot be read" in named_items(project, "workspace").unreadable[str(project)]


def test_no_repository_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ReferencesError, match="not inside of a DVC repository"):
        named_items(tmp_path, "references")
    assert workspace_items(tmp_path) == set()


def test_what_the_workspace_names(project: Path) -> None:
    manifests = workspace_manifests(project)
    assert {kind: m.header for kind, m in manifests.items()} == {
        kind: HEADERS[kind] for kind in ("frames", "images", "texts")
    }
    assert len(workspace_items(project)) == 3
    assert len(files(store(project))) == 6
