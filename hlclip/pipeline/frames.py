"""frames: one RGB frame per clip of every video, into the store."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hlclip.formats import Index, Item, Manifest
from hlclip.params import FramesParams, Split
from hlclip.pipeline.missing import check_missing, check_splits
from hlclip.store import Store, content_key
from hlclip.video import (
    HASHES,
    Decoder,
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
    frames = Decoding(
        index, params, data_root=data_root, store=store, hashes=read_hashes(store / HASHES)
    ).manifest()
    log.info(
        "%d frames of %d videos",
        sum(item.length for item in frames.items.values()),
        len(frames.items),
    )
    _report_lengths(index, frames.items)
    check_missing(frames.failed, total=len(index.clips()), share=max_missing)
    check_splits(index, frames.failed, needed or {})
    return frames


class Decoding:
    """The frames of the videos of an index, from the store or decoded into it.

    Args:
        hashes: from `read_hashes`; a file that is not among them is hashed.
    """

    def __init__(
        self,
        index: Index,
        params: FramesParams,
        *,
        data_root: Path,
        store: Path,
        hashes: Mapping[str, Any],
    ) -> None:
        settings = params.model_dump(exclude={"decoder"})
        header = frames_header(**settings, clip_seconds=index.clip_seconds)
        self.store = Store(store, "frames", header)
        self.keys = {vid: content_key(header, of) for vid, of in index.frame_contents().items()}
        self._index, self._root, self._hashes = index, data_root, hashes
        self._decoder: Decoder = params.decoder
        self._clips_apart = index.clips_apart()

    def item(self, vid: str) -> Item | str:
        """The frames of one video, or the reason why it has none.

        Raises:
            VideoChangedError, VideoUnreadableError: see `make_frames`.
        """
        video = self._index.videos[vid]
        path = self._root / video.path

        def decode() -> NDArray[np.uint8]:
            clips = self._clips_apart.get(vid)
            with indexed_video(path, video, self._hashes).unchanged():
                return extract_frames(path, self.store.header, self._decoder, clips=clips)

        try:
            return self.store.get_or_make(self.keys[vid], decode)
        except VideoChangedError as error:
            # No fault of this video: the index is out of date, whatever share may be missing.
            remedy = "`dvc repro --force index` reads it again"
            raise VideoChangedError(f"{path}: {error}", remedy) from error
        except VideoUnreadableError as error:
            raise VideoUnreadableError(f"{path}: {error.reason}", error.remedy()) from error
        except VideoError as error:
            return f"{video.path}: {error}"

    def manifest(self) -> Manifest:
        """The frames of all videos, a thread a core; `failed` holds the missing ones, too."""
        items: dict[str, Item] = {}
        failed = dict(self._index.missing)
        vids = sorted(self._index.videos)
        with worker_threads(os.cpu_count()) as pool:
            made = pool.map(self.item, vids)
            bar = tqdm(made, total=len(vids), desc="frames", unit="video", disable=None)
            for vid, item in zip(vids, bar, strict=True):
                if isinstance(item, Item):
                    items[vid] = item
                else:
                    failed[vid] = item
        return Manifest(self.store.header, items, failed)


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
