"""frames: one RGB frame per clip of every video, into the store."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats import Index, Item, Manifest
from hlclip.params import FramesParams, Split
from hlclip.pipeline.missing import check_missing, check_splits
from hlclip.store import Store, content_key
from hlclip.video import (
    HASHES,
    VideoChangedError,
    VideoError,
    VideoUnreadableError,
    extract_frames,
    frames_header,
    indexed_video,
    read_hashes,
    worker_threads,
)

log = logging.getLogger(__name__)


def make_frames(
    index: Index,
    params: FramesParams,
    *,
    data_root: Path,
    store: Path,
    max_missing: float,
    needed: Mapping[Split, str] | None = None,
) -> Manifest:
    """Decode every video whose frames are not in the store yet, a thread a core.

    Args:
        max_missing, needed: see `check_missing` and `check_splits`.

    Returns:
        The manifest: vid -> frames in the store; `failed` holds the index's missing videos too.

    Raises:
        VideoChangedError: a video is no longer the file that `index` hashed.
        VideoUnreadableError: the system refuses to read a video.
        TooManyMissingError: too many videos failed; the frames of the others stay in the store.
    """
    settings = params.model_dump(exclude={"decoder"})
    header = frames_header(**settings, clip_seconds=index.clip_seconds)
    frames = Store(store, "frames", header)
    hashes = read_hashes(store / HASHES)
    contents, clips_apart = index.frame_contents(), index.clips_apart()

    def make(vid: str) -> Item | VideoError:
        video = index.videos[vid]
        path = data_root / video.path

        def decode() -> NDArray[np.uint8]:
            with indexed_video(path, video, hashes).unchanged():
                return extract_frames(path, header, params.decoder, clips=clips_apart.get(vid))

        try:
            return frames.get_or_make(content_key(header, contents[vid]), decode)
        except VideoChangedError as error:
            # No fault of this video: the index is out of date, whatever share may be missing.
            remedy = "`dvc repro --force index` reads it again"
            raise VideoChangedError(f"{path}: {error}", remedy) from error
        except VideoUnreadableError as error:
            raise VideoUnreadableError(f"{path}: {error.reason}", error.remedy()) from error
        except VideoError as error:
            return error

    items: dict[str, Item] = {}
    failed = dict(index.missing)
    vids = sorted(index.videos)
    with worker_threads(os.cpu_count()) as pool:
        bar = tqdm(pool.map(make, vids), total=len(vids), desc="frames", unit="video", disable=None)
        for vid, made in zip(vids, bar, strict=True):
            if isinstance(made, Item):
                items[vid] = made
            else:
                failed[vid] = f"{index.videos[vid].path}: {made}"
    log.info("%d frames of %d videos", sum(item.length for item in items.values()), len(items))
    _report_lengths(index, items)
    check_missing(failed, total=len(index.clips()), share=max_missing)
    check_splits(index, failed, needed or {})
    return Manifest(header, items, failed)


def _report_lengths(index: Index, items: dict[str, Item]) -> None:
    """Log which videos end before their annotation; later stages score the clips that exist."""
    annotated = index.clips()
    shorter = [vid for vid, item in items.items() if item.length < annotated[vid]]
    longer = sum(item.length > annotated[vid] for vid, item in items.items())
    for vid in shorter:
        clips = f"{items[vid].length} clips decoded, {annotated[vid]} annotated"
        log.warning("  %s: %s; clips past the end have no frame", vid, clips)
    if shorter or longer:
        summary = f"{len(shorter)} of {len(items)} videos are shorter than annotated"
        log.warning("%s, %d longer (the rest is unused)", summary, longer)
