"""What there is: annotation rows and videos, validated, and what is missing, by name."""

import hashlib
import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from hlclip.formats.annotations import Annotation, read_annotations
from hlclip.formats.manifests import Index, Video, VideoInfo
from hlclip.params import Data
from hlclip.pipeline.missing import tolerate
from hlclip.system.errors import HlclipError
from hlclip.system.files import file_state, make_folder
from hlclip.video.container import VideoError, probe

log = logging.getLogger(__name__)

_CHUNK = 2**20
"""Bytes that are hashed at a time."""

_NOT_THE_FILES_FAULT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_PERM,
}


class DataError(HlclipError):
    """The data set cannot be used as it is; the message names the files and what to do."""


def build_index(data: Data, *, cache: Path) -> Index:
    """Validate the annotations; find, hash and probe the videos.

    Args:
        data: where the data set lies and what is tolerated.
        cache: SQLite file that remembers the hashes of unchanged files; it only saves time.

    Raises:
        DataError: a folder or annotation file is absent, or two files claim one vid.
        AnnotationError: rows are malformed; all problems are listed.
        TooManyMissingError: see `tolerate`.
    """
    root = Path(data.root)
    folder = root / data.videos
    if Path(data.videos).is_absolute():  # the index holds paths relative to the root alone
        raise DataError(f"data.videos is {data.videos}, expected a folder relative to data.root")
    if not folder.is_dir():
        raise DataError(
            f"no folder {folder}; data.root must hold {data.videos}/<vid>.<extension> "
            f"and {', '.join(data.annotations.values())}"
        )
    queries = {
        split: _read_split(split, root / name, data.clip_seconds)
        for split, name in data.annotations.items()
    }
    vids = {row.vid for rows in queries.values() for row in rows}
    files = find_videos(folder, vids)
    missing = {vid: f"no file {data.videos}/{vid}.*" for vid in vids - files.keys()}
    videos: dict[str, Video] = {}
    for vid, found in inspect_videos(files, root, cache):
        if isinstance(found, Video):
            videos[vid] = found
        else:
            missing[vid] = f"{data.videos}/{files[vid].name}: {found}"
    rows = ", ".join(f"{len(rows)} {split}" for split, rows in queries.items())
    log.info("%s queries on %d videos, %d of them found", rows, len(vids), len(videos))
    tolerate(missing, total=len(vids), share=data.max_missing)
    return Index(data.clip_seconds, queries, videos, missing)


def _read_split(split: str, path: Path, clip_seconds: float) -> list[Annotation]:
    try:
        return read_annotations(path, clip_seconds)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); data.annotations.{split} must name a "
            "file in data.root"
        ) from error


def find_videos(folder: Path, vids: set[str]) -> dict[str, Path]:
    """vid -> file; a vid is compared with names in the folder and never used as a path."""
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        # A vid holds dots (`j7rJstUseKg_360.0_510.0`), so only the last suffix goes.
        if path.stem not in vids or path.name.startswith(".") or path.is_dir():
            continue
        if path.stem in files:
            raise DataError(
                f"two files for vid {path.stem!r} in {folder}: "
                f"{files[path.stem].name} and {path.name}; keep one"
            )
        files[path.stem] = path
    return files


def inspect_videos(
    files: Mapping[str, Path], root: Path, cache: Path, *, progress: bool = True
) -> Iterator[tuple[str, Video | VideoError]]:
    """Hash and probe each file, or take both from the cache where the file has not changed.

    Args:
        files: vid -> file below `root`.
        cache: see `build_index`.
        progress: show a bar on a terminal.
    """
    with closing(_open_cache(cache)) as known, ThreadPoolExecutor() as pool:
        fresh: dict[str, tuple[str, str]] = {}
        for vid in sorted(files):
            try:
                stat, path = file_state(files[vid]), str(files[vid].resolve())
            except OSError as error:
                yield vid, VideoError(f"cannot be read ({error.strerror})")
                continue
            row = known.execute(
                "SELECT path, stat, sha256, info, digest FROM video_3 WHERE path = ? AND stat = ?",
                (path, stat),
            ).fetchone()
            if row is None or _digest(row[:4]) != row[4]:
                fresh[vid] = (path, stat)
            else:
                relative = files[vid].relative_to(root).as_posix()
                yield vid, Video(relative, row[2], VideoInfo(**json.loads(row[3])))
        results = pool.map(lambda vid: _look_at(files[vid], root), fresh)
        bar = tqdm(
            results,
            total=len(fresh),
            desc="videos",
            unit="video",
            disable=None if progress else True,
        )
        for (vid, (path, stat)), found in zip(fresh.items(), bar, strict=True):
            if isinstance(found, Video):
                row = (path, stat, found.sha256, json.dumps(asdict(found.info)))
                try:
                    with known:
                        known.execute(
                            "INSERT OR REPLACE INTO video_3 VALUES (?, ?, ?, ?, ?)",
                            (*row, _digest(row)),
                        )
                except sqlite3.OperationalError as error:
                    raise _cache_refused(cache, error) from error
            yield vid, found


def _open_cache(cache: Path) -> sqlite3.Connection:
    make_folder(cache.parent)
    try:
        known = sqlite3.connect(cache, timeout=60)
    except sqlite3.OperationalError as error:
        raise _cache_refused(cache, error) from error
    known.text_factory = lambda text: text.decode(errors="replace")
    try:
        # Count up when `probe` says something else of the same file.
        known.execute(
            "CREATE TABLE IF NOT EXISTS video_3 "
            "(path TEXT PRIMARY KEY, stat TEXT, sha256 TEXT, info TEXT, digest TEXT)"
        )
        known.execute("SELECT path, stat, sha256, info, digest FROM video_3 LIMIT 1")
        # SQLite's pages have no checksums: this finds broken structure, a row's digest the rest.
        if known.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its structure is broken")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        known.close()
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, sqlite3.Error) and code in _NOT_THE_FILES_FAULT:
            raise _cache_refused(cache, error) from error
        log.warning("%s is not a whole SQLite file; made anew, all videos are hashed again", cache)
        cache.unlink()
        return _open_cache(cache)
    return known


def _cache_refused(cache: Path, error: sqlite3.Error) -> DataError:
    room = f" ({shutil.disk_usage(cache.parent).free / 1e6:.3f} MB free)"
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return DataError(
        f"{cache}: cannot be written: {error}{room if full else ''}\n"
        "make room on that disk and see that it is writable, or set HLCLIP_STORE to another folder"
    )


def _digest(row: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(row, default=repr).encode()).hexdigest()


def _look_at(path: Path, root: Path) -> Video | VideoError:
    try:
        info = probe(path)  # before the hash: what is no video may have no end
        before = file_state(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            left = path.stat().st_size
            while chunk := file.read(min(left, _CHUNK)):
                digest.update(chunk)
                left -= len(chunk)
        if file_state(path) != before:
            return VideoError("changed while it was read; run again when it is written")
        return Video(path.relative_to(root).as_posix(), digest.hexdigest(), info)
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError(f"cannot be read ({error.strerror})")
