"""Video files of a data set: found by name, hashed and probed once."""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from hlclip.formats import Video, VideoInfo
from hlclip.system import HlclipError, WriteError, file_state, sha256_of, write_json
from hlclip.video.container import VideoError, probe
from hlclip.video.workers import worker_threads

log = logging.getLogger(__name__)

_SAVE_SECONDS = 30
"""How often the cache is written: a killed run loses the work of this time."""

_VERSION = 2
"""Raise it when `probe` gives other values for the same file."""


class DataError(HlclipError):
    """The data set cannot be used as it is; the message names the files."""


def find_videos(folder: Path, vids: set[str]) -> dict[str, Path]:
    """vid -> file; a vid is compared with names in the folder, and never used as a path.

    Raises:
        DataError: two files claim one vid.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        # A vid holds dots (`j7rJstUseKg_360.0_510.0`), so only the last suffix goes.
        if path.stem not in vids or path.name.startswith(".") or path.is_dir():
            continue
        if (other := files.setdefault(path.stem, path)) != path:
            raise DataError(
                f"two files for vid {path.stem!r} in {folder}: {other.name} and {path.name}",
                "keep one of them",
            )
    return files


def inspect_videos(
    files: Mapping[str, Path], root: Path, cache: Path, *, progress: bool = True
) -> Iterator[tuple[str, Video | VideoError]]:
    """Hash and probe each file, or take both from the cache where the file has not changed.

    Args:
        files: vid -> file below `root`.
        cache: JSON file with the results for unchanged files. It only saves time: a cache that is
            damaged or cannot be written is a warning.
    """
    vids = sorted(files)
    known = _read_cache(cache)
    new: dict[str, Any] = {}
    writable = True
    next_save = time.monotonic() + _SAVE_SECONDS
    try:
        with worker_threads() as pool:
            results = pool.map(partial(_inspect, known=known), [files[vid] for vid in vids])
            disable = None if progress else True
            bar = tqdm(results, total=len(vids), desc="videos", unit="video", disable=disable)
            for vid, result in zip(vids, bar, strict=True):
                if isinstance(result, VideoError):
                    yield vid, result
                    continue
                key, entry = result
                if known.get(key) != entry:
                    new[key] = entry
                if writable and time.monotonic() > next_save:
                    writable = _write_cache(cache, new)
                    next_save = time.monotonic() + _SAVE_SECONDS
                relative = files[vid].relative_to(root).as_posix()
                yield vid, Video(relative, entry["sha256"], VideoInfo(**entry["info"]))
    finally:
        if writable and new:
            _write_cache(cache, new)


def _inspect(path: Path, *, known: Mapping[str, Any]) -> tuple[str, Any] | VideoError:
    """Key and entry of a file in the cache; it is hashed and probed unless `known` has both."""
    try:
        state, key = file_state(path), str(path.resolve())
        if key in known and known[key]["state"] == state:
            return key, known[key]
        info = asdict(probe(path))  # before the hash: only a video is read to its end
        entry = {"state": state, "sha256": sha256_of(path), "info": info}
        if file_state(path) != state:
            return VideoError("changed while it was read; run again when it is written")
        return key, entry
    except VideoError as error:
        return error
    except OSError as error:
        return VideoError(f"cannot be read ({error.strerror})")


def _read_cache(cache: Path, *, level: int = logging.WARNING) -> dict[str, Any]:
    """Absolute path -> `state`, `sha256` and `info` of the file; empty if the cache is damaged."""
    try:
        content = json.loads(cache.read_bytes())
        if content["version"] == _VERSION and content["digest"] == _digest(content["videos"]):
            return content["videos"]
        reason = "of another version, or damaged"
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = str(error)
    log.log(level, "%s: not used, all videos are hashed again (%s)", cache, reason)
    return {}


def _write_cache(cache: Path, new: Mapping[str, Any]) -> bool:
    """Add `new` to the cache, whatever another run has added to it; whether it can be written."""
    videos = {**_read_cache(cache, level=logging.DEBUG), **new}
    try:
        write_json(cache, {"version": _VERSION, "digest": _digest(videos), "videos": videos})
    except WriteError as error:
        reason = getattr(error.__cause__, "strerror", error.reason)
        message = "%s: the hashes of videos were not saved, the next run computes them again (%s)"
        log.warning(message, cache, reason)
        return False
    return True


def _digest(videos: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(videos, sort_keys=True).encode())
