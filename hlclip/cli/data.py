"""Data sets: check a copy, download missing files, convert annotations and ratings.

\b
Examples:
  hlclip data qvhighlights /data/qvhighlights --check
  hlclip data qvhighlights --help      what it downloads, and where your own files belong
  hlclip data tvsum data/tvsum         convert TVSum's annotations
  hlclip data convert --help           a CSV of ratings of your own videos
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Exit, Option, Typer, confirm, echo

from hlclip.cli.next_steps import next_steps
from hlclip.cli.terminal import Check, Command, Json, print_json, some
from hlclip.system import HlclipError, in_words, make_folder, require_space, same_disk

if TYPE_CHECKING:
    from hlclip.datasets import DatasetStatus, Release, VideoArchive

data_sets = Typer(no_args_is_help=True, help=__doc__)

_LICENCE = """\
QVHighlights' annotations are licensed CC BY-NC-SA 4.0: name the authors, no commercial use, share
alike (https://creativecommons.org/licenses/by-nc-sa/4.0/). Its videos are excerpts from YouTube and
remain their owners'. Whether your use is allowed is for you to decide."""


@data_sets.command(cls=Command)
def qvhighlights(
    root: Annotated[Path, Argument(metavar="ROOT", help="Folder of the data set.")] = Path(
        "data/qvhighlights"
    ),
    videos: Annotated[
        bool, Option("--videos", help="Also download and extract the videos, about 134 GB.")
    ] = False,
    archive: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help=(
                "Archive of the videos. If the file exists, it is extracted; otherwise --videos "
                "downloads to this path. Default: in the folder that holds ROOT."
            ),
        ),
    ] = None,
    check: Check = False,
    mirror: Annotated[
        str | None,
        Option(
            metavar="URL",
            envvar="HLCLIP_QVHIGHLIGHTS_MIRROR",
            help="Download all files from this address instead; checksums are still verified.",
        ),
    ] = None,
    yes: Annotated[
        bool, Option("--yes", "-y", help="Accept the licence without being asked.")
    ] = False,
    json: Json = False,
) -> None:
    """Download the missing files of QVHighlights, or show where to put your own copies.

    \b
      ROOT/annotations/highlight_train_release.jsonl  ..val_release.jsonl  ..test_with_gt.jsonl
      ROOT/videos/<vid>.mp4

    The annotations (6 MB) are verified by checksum. The videos come as one archive of about 134 GB,
    which only --videos downloads. Until you delete the archive, you need twice that space. An
    interrupted download is resumed. Existing files are never replaced.

    \b
    Examples:
      hlclip data qvhighlights /data/qvhighlights --check      list missing files
      hlclip data qvhighlights /data/qvhighlights              download the annotations
      hlclip data qvhighlights /data/qvhighlights --videos     download everything
      hlclip data qvhighlights /data/qvhighlights --archive qvhilights_videos.tar.gz

    \b
    Videos in another folder need no copy. Link the files (DVC does not follow a linked folder):
      ln -s /elsewhere/*.mp4 /data/qvhighlights/videos/
    """
    from hlclip.datasets import ANNOTATIONS, VIDEOS, dataset_status

    status = dataset_status(root, ANNOTATIONS)
    if check:
        _show(root, status, json=json)
        raise Exit(0 if status.whole else 1)
    if archive is not None and not archive.exists() and not videos:
        raise HlclipError(f"{archive}: no such file", "--videos downloads it to this path")
    extract = videos or archive is not None
    archive = archive or root.absolute().parent / VIDEOS.name

    def url(file: "Release | VideoArchive") -> str:
        return file.url if mirror is None else f"{mirror.rstrip('/')}/{file.name}"

    urls = [url(release) for release in status.absent]
    if videos and not archive.exists() and (status.absent or status.missing):
        urls.append(f"{url(VIDEOS)} (about {in_words(VIDEOS.size)})")
    if urls and not yes:
        echo("\n  ".join([f"{_LICENCE}\n\nTo download:", *urls]), err=True)
        confirm("Go on? (--yes answers this)", abort=True, err=True)
    for release in status.absent:
        path = root / "annotations" / release.name
        _download(url(release), path, f"Or place the file yourself: {path}", release.sha256)
    status = dataset_status(root, ANNOTATIONS)
    different: list[str] = []
    if extract and status.missing:
        different = _get_videos(root / "videos", status, archive, url(VIDEOS))
        status = dataset_status(root, ANNOTATIONS)
    _show(root, status, json=json)
    if different or status.different or (extract and status.missing):
        raise Exit(1)


def _download(url: str, path: Path, alternative: str, sha256: str | None = None) -> None:
    from hlclip.datasets import DownloadError, download

    try:
        download(url, path, sha256=sha256)
    except DownloadError as error:
        raise DownloadError(str(error), alternative) from error


def _get_videos(folder: Path, status: "DatasetStatus", archive: Path, url: str) -> list[str]:
    """Download and extract the archive; return vids whose existing file differs in size."""
    from hlclip.datasets import VIDEOS, extract_videos

    _require_space(archive, folder, VIDEOS)
    if not archive.exists():
        _download(url, archive, "Or give an archive that you have: --archive")
    result = extract_videos(archive, folder, status.vids, suffix=VIDEOS.suffix)
    lines = [f"{archive}: {len(result.extracted):,} videos extracted to {folder}"]
    not_in_archive = set(status.missing) - set(result.extracted)
    if not_in_archive:
        names = some(not_in_archive)
        lines.append(f"  {len(not_in_archive):,} missing videos are not in it: {names}")
    if result.different:
        lines.append(
            f"  {len(result.different):,} existing videos differ in size from the archive's and "
            f"were kept; delete them to get the archive's: {some(result.different)}"
        )
    if result.ignored:
        reasons = [f"{name!r} ({reason})" for name, reason in result.ignored.items()]
        lines.append(f"  {len(reasons):,} members ignored: {some(reasons)}")
    if not not_in_archive and not result.different:
        lines.append(f"  no longer needed: rm {shlex.quote(str(archive))}")
    echo("\n".join(lines), err=True)
    return result.different


def _require_space(archive: Path, folder: Path, published: "VideoArchive") -> None:
    """Refuse before hours of download; exact sizes are checked again once they are known."""
    part = archive.with_name(f"{archive.name}.part")
    size = archive.stat().st_size if archive.exists() else published.size
    files = [archive, part, *folder.rglob(f"*{published.suffix}")]
    archived, partial, *extracted = [path.stat().st_size if path.is_file() else 0 for path in files]
    to_download = max(size - (archived or partial), 0)
    to_extract = max(size - sum(extracted), 0)
    make_folder(folder)
    make_folder(archive.parent)
    if same_disk(archive.parent, folder):
        require_space(folder, to_download + to_extract, "the archive together with its videos")
    else:
        require_space(archive.parent, to_download, "the archive")
        require_space(folder, to_extract, "extracting the archive")


def _show(root: Path, status: "DatasetStatus", *, json: bool) -> None:
    from hlclip.datasets import VIDEOS

    if json:
        facts = {"root": root, "annotations": status.annotations, "videos named": len(status.vids)}
        facts |= {"videos": len(status.videos), "missing": status.missing, "whole": status.whole}
        print_json(facts)
        return
    folder = root / "videos"
    videos = f"{len(status.videos):,} of the {len(status.vids):,} that the annotations name"
    rows = {f"annotations/{name}": words for name, words in status.annotations.items()}
    rows["videos/"] = videos if status.vids else "unknown until the annotations are complete"
    if status.missing:
        rows[""] = f"missing: {some(status.missing)}"
    width = max(map(len, rows))
    lines = [f"{root}:", *(f"  {name:{width}}  {words}" for name, words in rows.items())]
    if folder.is_symlink():
        lines.append(
            f"{folder} is a link to a folder, which DVC does not follow: make it a folder and "
            f"link the files, ln -s {folder.readlink()}/*{VIDEOS.suffix} {folder}/"
        )
    if status.different:
        lines.append("Move away the files that differ from the release, then run again.")
    if not status.whole:
        lines += [
            "\nPlace the files that you have:",
            f"  annotation files in {root / 'annotations'}/",
            f"  videos, or links to them, as {folder}/<vid>{VIDEOS.suffix}",
            f"or download: hlclip data qvhighlights {shlex.quote(str(root))} --videos",
        ]
    lines.append("\nNext" if status.whole else "\nThen")
    lines += next_steps("qvhighlights", root)
    echo("\n".join(lines))
