"""Video files of a data set: found by name, hashed and probed once.

What is stored under the hash of a file must be made from bytes with that hash. The file is hashed
first and decoded later, perhaps by another command. So its state is noted when it is hashed, and
compared after it was decoded: see `VideoFile.unchanged`.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import xxhash
from tqdm import tqdm

from hlclip.formats import Video, VideoInfo
from hlclip.system import HlclipError, WriteError, file_state, locked, sha256_of, write_json
from hlclip.video.container import check_plain, probe
from hlclip.video.refusals import VideoError, unreadable
from hlclip.video.workers import worker_threads

log = logging.getLogger(__name__)

HASHES = "videos.json"
"""Name of the cache of hashes in the store."""

_SAVE_SECONDS = 30
"""How often the cache is written: a killed run loses the work of this time."""

_VERSION = 2
"""Raise it when `probe` gives other values for the same file."""


class DataError(HlclipError):
    """The data set cannot be used as it is; the message names the files."""


class VideoChangedError(VideoError):
    """A video is no longer the file that was hashed."""


@dataclass(frozen=True)
class VideoFile:
    """A video file that was hashed; hash and facts hold as long as its state is the same."""

    path: Path
    state: str
    """See `file_state`."""
    sha256: str
    info: VideoInfo

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """What is read from the file in this context has its hash, or the context fails.

        Raises:
            VideoChangedError: the file was changed or replaced since it was hashed.
        """
        failure = None
        try:
            yield
        except VideoError as error:
            failure = error  # a file that is replaced while it is decoded fails in many ways
        try:
            same = file_state(self.path) == self.state
        except OSError:
            same = False
        if not same:
            raise VideoChangedError(
                "changed while it was read; run again when it is written"
            ) from failure
        if failure:
            raise failure


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
    files: Mapping[str, Path], cache: Path, *, progress: bool = True
) -> Iterator[tuple[str, VideoFile | VideoError]]:
    """Hash and probe each file, or take both from the cache where the file has not changed.

    Args:
        files: vid -> file.
        cache: JSON file with the results for unchanged files. It only saves time: a cache that is
            damaged or cannot be written is a warning.
    """
    vids = sorted(files)
    known = read_hashes(cache)
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
                info = VideoInfo(**entry["info"])
                yield vid, VideoFile(files[vid], entry["state"], entry["sha256"], info)
    finally:
        if writable and new:
            _write_cache(cache, new)


def indexed_video(path: Path, video: Video, hashes: Mapping[str, Any]) -> VideoFile:
    """The file that the index names, after a check that it still has the hash in the index.

    Args:
        hashes: from `read_hashes`; a file that is not among them, or has changed, is hashed.

    Raises:
        VideoChangedError: it has another hash.
        VideoError: it cannot be read.
    """
    check_plain(path)
    try:
        state, known = file_state(path), hashes.get(str(path.resolve()))
        sha256 = known["sha256"] if known and known["state"] == state else sha256_of(path)
    except OSError as error:
        raise unreadable(error) from error
    if sha256 != video.sha256:
        raise VideoChangedError("is no longer the file that `index` hashed")
    return VideoFile(path, state, sha256, video.info)


def read_hashes(cache: Path) -> dict[str, Any]:
    """Absolute path -> `state`, `sha256` and `info` of the file; empty if the cache is damaged."""
    try:
        return _load_cache(cache)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, TypeError) as error:
        log.warning("%s: not used, all videos are hashed again (%s)", cache, error)
        return {}


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
        return unreadable(error)


def _load_cache(cache: Path) -> dict[str, Any]:
    content = json.loads(cache.read_bytes())
    if content["version"] != _VERSION or content["digest"] != _digest(content["videos"]):
        raise ValueError("of another version, or damaged")
    return content["videos"]


def _write_cache(cache: Path, new: Mapping[str, Any]) -> bool:
    """Add `new` to the cache, whatever another run has added to it; whether it can be written."""
    known: dict[str, Any] = {}
    try:
        with locked(cache.with_suffix(".lock")):  # or two that write at once lose entries
            # A damaged cache is replaced; one that the system does not read now stays as it is.
            with suppress(FileNotFoundError, IsADirectoryError, ValueError, LookupError, TypeError):
                known = _load_cache(cache)
            videos = {**known, **new}
            write_json(cache, {"version": _VERSION, "digest": _digest(videos), "videos": videos})
    except (OSError, WriteError) as error:
        cause = error.__cause__ if isinstance(error, WriteError) else error
        message = "%s: the hashes of videos were not saved, the next run computes them again (%s)"
        log.warning(message, cache, getattr(cause, "strerror", None) or error)
        return False
    return True


def _digest(videos: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(videos, sort_keys=True).encode())
