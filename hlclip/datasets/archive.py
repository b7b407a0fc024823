"""Extract videos from an archive: known names only, each file whole, nothing outside the folder.

The checksum of a gzip file is at its end. Until the checksum has been read and is right, videos
wait in `.extracting` inside the folder. A run after a kill does not extract complete ones again.
"""

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from tqdm import tqdm

from hlclip.system import HlclipError, replacing, require_space, sole_writer, write_whole

_CHUNK = 1 << 20


class ArchiveError(HlclipError):
    """An archive is truncated, damaged or of another format."""


@dataclass
class Extraction:
    """What happened to the members of an archive."""

    extracted: list[str] = field(default_factory=list)
    """Vids whose file was extracted."""
    different: list[str] = field(default_factory=list)
    """Vids whose existing file has another size than the archive's; it was left alone."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Name of a member -> why it was not extracted."""


def videos_in(folder: Path, vids: Collection[str]) -> dict[str, Path]:
    """vid -> its file in `folder`, with any suffix; empty and hidden files do not count."""
    if not folder.is_dir():
        return {}
    return {
        path.stem: path
        for path in sorted(folder.iterdir())
        if path.stem in vids
        and not path.name.startswith(".")
        and path.is_file()
        and path.stat().st_size > 0
    }


def extract_videos(
    archive: Path, folder: Path, vids: Collection[str], *, suffix: str = ".mp4"
) -> Extraction:
    """Extract `<vid><suffix>` for each of `vids`, from any folder of a .tar.gz.

    Only the last part of a member's name is compared with `vids`, so the archive cannot choose
    where a file is written. Existing files are replaced only if they are empty.

    Args:
        archive: gzip-compressed tar.
        folder: created if necessary; videos appear in it when all of `archive` has been read.

    Raises:
        ArchiveError: `archive` is truncated, damaged or of another format.
        DiskError: too little room for the next video, or another process extracts to `folder`.
    """
    waiting = folder / ".extracting"
    with sole_writer(waiting):
        _keep_if_of(archive, waiting)
        result = Extraction()
        existing, handled = videos_in(folder, vids), set[str]()
        with _members(archive, waiting) as tar:
            for member in tar:
                if member.isdir():
                    continue
                name = PurePosixPath(member.name).name
                vid = name.removesuffix(suffix)
                if not member.isreg() or member.issparse():
                    result.ignored[member.name] = "not a plain file"
                elif vid not in vids or vid == name:
                    result.ignored[member.name] = "not among the videos of the annotations"
                elif vid in handled:
                    result.ignored[member.name] = "a second file of this name"
                elif vid not in existing:
                    _extract(tar, member, waiting / name)
                    result.extracted.append(vid)
                elif existing[vid].name == name and existing[vid].stat().st_size != member.size:
                    result.different.append(vid)
                handled.add(vid)
        for vid in result.extracted:
            os.replace(waiting / f"{vid}{suffix}", folder / f"{vid}{suffix}")
        shutil.rmtree(waiting)
    return result


def _keep_if_of(archive: Path, waiting: Path) -> None:
    """Keep the files that an interrupted run extracted from this archive; delete any others."""
    status = archive.stat()
    origin = f"{archive.resolve()}\n{status.st_size} {status.st_mtime_ns}\n"
    note = waiting / "origin"
    if not note.is_file() or note.read_text(encoding="utf-8") != origin:
        shutil.rmtree(waiting, ignore_errors=True)
        write_whole(note, origin.encode())


@contextmanager
def _members(archive: Path, waiting: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive as a stream; afterwards read it to its end, which checks gzip's checksum."""
    size = archive.stat().st_size
    try:
        with (
            archive.open("rb") as raw,
            tqdm.wrapattr(raw, "read", total=size, desc="extracting", disable=None) as counted,
            gzip.GzipFile(fileobj=cast("IO[bytes]", counted)) as unpacked,
            tarfile.open(fileobj=unpacked, mode="r|") as tar,
        ):
            yield tar
            while unpacked.read(_CHUNK):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        shutil.rmtree(waiting)
        reason = f"is damaged, or it is no .tar.gz ({error})"
        if isinstance(error, EOFError):
            reason = f"ends too early, at byte {size:,}: its download was not finished"
        remedy = "finish its download, or delete it and run again; no video was extracted"
        raise ArchiveError(f"{archive} {reason}", remedy) from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    require_space(path.parent, member.size, f"extracting {path.name}")
    content = tar.extractfile(member)
    assert content is not None, "a plain file has content"
    with replacing(path) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
