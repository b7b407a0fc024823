"""The videos out of an archive: known names only, each whole, and nothing outside the folder.

The checksum of a gzip file stands at its end. Until it was read and found right, videos wait in
`.extracting` inside the folder; what is whole there need not be extracted again after a kill.
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
    """An archive is truncated, damaged or none; says what to do."""


@dataclass
class Extraction:
    """What became of the members of an archive."""

    extracted: list[str] = field(default_factory=list)
    """Vids that were not in the folder before."""
    present: list[str] = field(default_factory=list)
    """Vids that were: with the archive's size, or under another suffix."""
    different: list[str] = field(default_factory=list)
    """Vids that were with another size than the archive's; those files were left alone."""
    ignored: dict[str, str] = field(default_factory=dict)
    """Member's name -> why nothing was made of it."""


def videos_in(folder: Path, vids: Collection[str]) -> dict[str, Path]:
    """vid -> its file in `folder`, under whatever suffix; empty and hidden files are none."""
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
    """Extract `<vid><suffix>` for every one of `vids`, from wherever it lies in a .tar.gz.

    Of a member only the last part of its name is looked at, and only to find it among `vids`: where
    it is written does not depend on the archive. Only empty files are ever replaced.

    Args:
        archive: gzip-compressed tar.
        folder: made if need be; what is extracted appears there when all of `archive` was read.
        vids: what to extract.

    Raises:
        ArchiveError: `archive` is truncated, damaged or something else.
        DiskError: no room for the next video, or another run is extracting here.
        OSError: `archive` cannot be read or `folder` not written.
    """
    waiting = folder / ".extracting"
    with sole_writer(waiting):
        _take_up(waiting, archive)
        result = Extraction()
        there, seen = videos_in(folder, vids), set[str]()
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
                elif vid in seen:
                    result.ignored[member.name] = "one more file of its name"
                elif vid not in there:
                    _extract(tar, member, waiting / name)
                    result.extracted.append(vid)
                elif there[vid].name == name and there[vid].stat().st_size != member.size:
                    result.different.append(vid)
                else:
                    result.present.append(vid)
                seen.add(vid)
        for vid in result.extracted:
            os.replace(waiting / f"{vid}{suffix}", folder / f"{vid}{suffix}")
        shutil.rmtree(waiting)
    return result


def _take_up(waiting: Path, archive: Path) -> None:
    """Keep what an interrupted run extracted from this very file; begin with nothing otherwise."""
    status = archive.stat()
    origin = f"{archive.resolve()}\n{status.st_size} {status.st_mtime_ns}\n"
    note = waiting / "origin"
    if not note.is_file() or note.read_text(encoding="utf-8") != origin:
        shutil.rmtree(waiting, ignore_errors=True)
        write_whole(note, origin.encode())


@contextmanager
def _members(archive: Path, waiting: Path) -> Iterator[tarfile.TarFile]:
    """The archive as a stream. At the end the rest is read too: that checks gzip's checksum."""
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
    except EOFError as error:
        shutil.rmtree(waiting)
        raise ArchiveError(
            f"{archive} ends too early, at byte {size:,}: it was not downloaded to its end. Finish "
            "or delete it and run again; nothing of it was kept"
        ) from error
    except (gzip.BadGzipFile, zlib.error, tarfile.TarError) as error:
        shutil.rmtree(waiting)
        raise ArchiveError(
            f"{archive} is damaged, or it is no .tar.gz ({error}). Delete it and download it "
            "again; nothing of it was kept"
        ) from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if path.is_file() and path.stat().st_size == member.size:
        return
    require_space(path.parent, member.size, f"extracting {path.name}")
    content = tar.extractfile(member)
    assert content is not None, "a plain file has content"
    with replacing(path) as temporary, temporary.open("wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
