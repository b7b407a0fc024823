"""`hlclip data`: what may be obtained of a public data set, and where the rest belongs."""

import json as json_format
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from hlclip.cli.terminal import plain_errors
from hlclip.datasets import (
    ANNOTATIONS,
    VIDEOS,
    DatasetStatus,
    DownloadError,
    Release,
    VideoArchive,
    dataset_status,
    download,
    extract_videos,
)
from hlclip.system import HlclipError, in_words, make_folder, require_space, same_disk

data_sets = typer.Typer(no_args_is_help=True)

_LICENCE = """\
QVHighlights' annotations are licensed CC BY-NC-SA 4.0: name the authors, no commercial use, share
alike (https://creativecommons.org/licenses/by-nc-sa/4.0/). Its videos are excerpts from YouTube and
remain their owners'. Whether your use is allowed is for you to decide."""
_SHOWN = 5


@data_sets.callback()
def group() -> None:
    """Public data sets: what is there, and how to get the rest.

    \b
    Examples:
      hlclip data qvhighlights /data/qvhighlights --check
      hlclip data qvhighlights --help      what it downloads, and where files of your own belong
    """


@data_sets.command()
def qvhighlights(
    context: typer.Context,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="Folder of the data set.")] = Path(
        "data/qvhighlights"
    ),
    videos: Annotated[
        bool, typer.Option("--videos", help="Also download and extract the videos, about 134 GB.")
    ] = False,
    archive: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Archive of the videos: extracted if it is there, downloaded to there with "
            "--videos. Default: beside ROOT.",
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only look; exit with 1 if anything is missing."),
    ] = False,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="HLCLIP_QVHIGHLIGHTS_MIRROR",
            help="Take all files from this folder on the web; checksums hold there too.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="The licence is known; do not ask.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print what is there as JSON, all names included.")
    ] = False,
) -> None:
    """Download what is missing of QVHighlights, or say where files of your own belong.

    \b
      ROOT/annotations/highlight_train_release.jsonl  ..val_release.jsonl  ..test_with_gt.jsonl
      ROOT/videos/<vid>.mp4

    The annotations (6 MB) are compared with the known release. The videos are one archive of about
    134 GB, and twice that room is needed until it is deleted; only with --videos are they
    downloaded. Everything goes on where it was after an interruption. Nothing that is there is
    replaced.

    \b
    Examples:
      hlclip data qvhighlights /data/qvhighlights --check      what is there, what is missing
      hlclip data qvhighlights /data/qvhighlights              the annotations
      hlclip data qvhighlights /data/qvhighlights --videos     all of it
      hlclip data qvhighlights /data/qvhighlights --archive qvhilights_videos.tar.gz

    \b
    Videos that lie elsewhere need no copy. Link the files (DVC does not follow a linked folder):
      ln -s /elsewhere/*.mp4 /data/qvhighlights/videos/
    """
    with plain_errors(context):
        show = _print_json if json else _show
        holdings = dataset_status(root, ANNOTATIONS)
        if check:
            show(root, holdings)
            raise typer.Exit(0 if holdings.whole else 1)
        if archive is not None and not archive.exists() and not videos:
            raise HlclipError(f"{archive}: no such file; with --videos it is downloaded to there")
        extract = videos or archive is not None
        archive = archive or root.absolute().parent / VIDEOS.name
        _ask(holdings, archive if videos else None, mirror, yes=yes)
        holdings = _get_annotations(root, holdings, mirror)
        different: list[str] = []
        if extract and holdings.missing:
            different = _get_videos(root, holdings, archive, mirror)
            holdings = dataset_status(root, ANNOTATIONS)
        show(root, holdings)
        if different or holdings.different or (extract and holdings.missing):
            raise typer.Exit(1)


def _ask(holdings: DatasetStatus, archive: Path | None, mirror: str | None, *, yes: bool) -> None:
    """Nothing is downloaded before the licence was seen."""
    wanted = [_at(mirror, release) for release in holdings.absent]
    if archive is not None and not archive.exists() and (holdings.absent or holdings.missing):
        wanted.append(f"{_at(mirror, VIDEOS)} (about {in_words(VIDEOS.size)})")
    if wanted and not yes:
        typer.echo("\n  ".join([f"{_LICENCE}\n\nTo download:", *wanted]), err=True)
        typer.confirm("Go on? (--yes answers this)", abort=True, err=True)


def _get_annotations(root: Path, holdings: DatasetStatus, mirror: str | None) -> DatasetStatus:
    for release in holdings.absent:
        path = root / "annotations" / release.name
        try:
            download(_at(mirror, release), path, sha256=release.sha256)
        except DownloadError as error:
            raise DownloadError(f"{error}\nOr place the file yourself: {path}") from error
    return dataset_status(root, ANNOTATIONS)


def _get_videos(
    root: Path, holdings: DatasetStatus, archive: Path, mirror: str | None
) -> list[str]:
    """Download the archive unless it is there, extract it, tell what it held; vids that differ."""
    folder = root / "videos"
    _require_room(archive, folder)
    if not archive.exists():
        try:
            download(_at(mirror, VIDEOS), archive)
        except DownloadError as error:
            raise DownloadError(f"{error}\nOr give an archive that you have: --archive") from error
    result = extract_videos(archive, folder, holdings.vids, suffix=VIDEOS.suffix)
    _say(f"{archive}: {len(result.extracted):,} videos extracted to {folder}")
    lacking = set(holdings.missing) - set(result.extracted)
    if lacking:
        _say(f"  {len(lacking):,} missing videos are not in it: {_some(lacking)}")
    if result.different:
        _say(
            f"  {len(result.different):,} videos that were there have another size than in the "
            f"archive and were left alone; delete them to get the archive's: "
            f"{_some(result.different)}"
        )
    if result.ignored:
        reasons = [f"{name!r} ({why})" for name, why in result.ignored.items()]
        _say(f"  {len(reasons):,} members ignored: {_some(reasons)}")
    if not lacking and not result.different:
        _say(f"  no longer needed: rm {shlex.quote(str(archive))}")
    return result.different


def _say(line: str) -> None:
    """Beside what was asked for, which alone goes to stdout."""
    typer.echo(line, err=True)


def _require_room(archive: Path, folder: Path) -> None:
    """Before hours of download; the exact sizes are checked again when they are known."""
    part = archive.with_name(f"{archive.name}.part")
    size = archive.stat().st_size if archive.exists() else VIDEOS.size
    come = size if archive.exists() else part.stat().st_size if part.exists() else 0
    files = (path for path in folder.rglob(f"*{VIDEOS.suffix}") if path.is_file())
    there = sum(path.stat().st_size for path in files)
    to_come, to_extract = max(size - come, 0), max(size - there, 0)
    make_folder(folder)
    make_folder(archive.parent)
    if same_disk(archive.parent, folder):
        require_space(folder, to_come + to_extract, "the archive with the videos out of it")
    else:
        require_space(archive.parent, to_come, "the archive")
        require_space(folder, to_extract, "what is in the archive")


def _show(root: Path, holdings: DatasetStatus) -> None:
    folder = root / "videos"
    width = max(len(f"annotations/{name}") for name in holdings.annotations)
    typer.echo(f"{root}:")
    for name, words in holdings.annotations.items():
        typer.echo(f"  {f'annotations/{name}':{width}}  {words}")
    there = f"{len(holdings.videos):,} of the {len(holdings.vids):,} that the annotations name"
    if not holdings.vids:
        there = "which are wanted will be known when the annotations are there"
    typer.echo(f"  {'videos/':{width}}  {there}")
    if holdings.missing:
        typer.echo(f"  {'':{width}}  missing: {_some(holdings.missing)}")
    if folder.is_symlink():
        typer.echo(
            f"{folder} is a link to a folder, and DVC does not look behind it: make it a folder "
            f"and link the files, ln -s {folder.readlink()}/*{VIDEOS.suffix} {folder}/"
        )
    if holdings.different:
        typer.echo("Move away what is not the release and run again to get it.")
    if not holdings.whole:
        typer.echo(
            f"\nPlace what you have:\n"
            f"  annotation files in {root / 'annotations'}/\n"
            f"  videos, or links to them, as {folder}/<vid>{VIDEOS.suffix}\n"
            f"or download: hlclip data qvhighlights {shlex.quote(str(root))} --videos\n"
            f"\nThen"
        )
    else:
        typer.echo("\nNext")
    root_now = shlex.quote(f"data.root={root.absolute()}")
    typer.echo(f"  cp presets/qvhighlights.yaml params.yaml\n  dvc exp run -S {root_now}")


def _print_json(root: Path, holdings: DatasetStatus) -> None:
    content = {
        "root": str(root),
        "annotations": holdings.annotations,
        "videos named": len(holdings.vids),
        "videos": len(holdings.videos),
        "missing": holdings.missing,
        "whole": holdings.whole,
    }
    typer.echo(json_format.dumps(content, indent=1, ensure_ascii=False))


def _at(mirror: str | None, file: Release | VideoArchive) -> str:
    return file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"


def _some(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN:,} more"
