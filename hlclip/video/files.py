"""Video files of a data set: found by name, hashed and probed once."""

import hashlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from hlclip.formats import Video, VideoInfo
from hlclip.system import HlclipError, WriteError, file_state, write_json
from hlclip.video.container import VideoError, probe

log = logging.getLogger(__name__)

_CHUNK = 2**20
"""Bytes that are hashed at a time."""

_SAVE_SECONDS = 30
"""How often the cache is written: what a killed run loses."""

_VERSION = 1
"""Count up when `probe` says something else of the same file."""


class DataError(HlclipError):
    """The data set cannot be used as it is; the message names the files and what to do."""


def find_videos(folder: Path, vids: set[str]) -> dict[str, Path]:
    """vid -> file; a vid is compared with names in the folder and never used as a path.

    Raises:
        DataError: two files claim one vid.
    """
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
        cache: JSON file that remembers what unchanged files are; it only saves time, so that one
            that is damaged or cannot be written is no error.
        progress: show a bar on a terminal.
    """
    known = _read_cache(cache)
    fresh: dict[str, tuple[str, str]] = {}
    for vid in sorted(files):
        try:
            state, path = file_state(files[vid]), str(files[vid].resolve())
        except OSError as error:
            yield vid, VideoError(f"cannot be read ({error.strerror})")
            continue
        entry = known.get(path)
        if entry is None or entry["state"] != state:
            fresh[vid] = (path, state)
        else:
            relative = files[vid].relative_to(root).as_posix()
            yield vid, Video(relative, entry["sha256"], VideoInfo(**entry["info"]))
    if not fresh:
        return
    new: dict[str, Any] = {}
    saved = time.monotonic()
    try:
        with ThreadPoolExecutor() as pool:
            results = pool.map(lambda vid: _look_at(files[vid], root), fresh)
            shown = None if progress else True
            bar = tqdm(results, total=len(fresh), desc="videos", unit="video", disable=shown)
            for (vid, (path, state)), found in zip(fresh.items(), bar, strict=True):
                if isinstance(found, Video):
                    info = asdict(found.info)
                    new[path] = {"state": state, "sha256": found.sha256, "info": info}
                if time.monotonic() - saved > _SAVE_SECONDS:
                    _write_cache(cache, new)
                    saved = time.monotonic()
                yield vid, found
    finally:
        _write_cache(cache, new)


def _read_cache(cache: Path) -> dict[str, Any]:
    """Absolute path -> `state`, `sha256`, `info` of the file that was there."""
    try:
        content = json.loads(cache.read_bytes())
        if content["version"] == _VERSION and content["digest"] == _digest(content["videos"]):
            return content["videos"]
        reason = "of another version, or damaged"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error)
    log.warning("%s: not used, all videos are hashed again (%s)", cache, reason)
    return {}


def _write_cache(cache: Path, new: Mapping[str, Any]) -> None:
    """Add to the cache, also to what another run has written meanwhile."""
    if not new:
        return
    videos = {**_read_cache(cache), **new}
    try:
        write_json(cache, {"version": _VERSION, "digest": _digest(videos), "videos": videos})
    except WriteError as error:
        log.warning("%s\nthe next run hashes the videos again", error)


def _digest(videos: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(videos, sort_keys=True).encode())


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
