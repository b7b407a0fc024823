"""frames: one RGB frame per clip of every video, into the store."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from hlclip.formats import Index, Item, Manifest, Video
from hlclip.params import FramesParams
from hlclip.pipeline.missing import check_missing
from hlclip.store import Store, content_key
from hlclip.video import Decoder, VideoError, extract_frames, frames_header

log = logging.getLogger(__name__)


def make_frames(
    index: Index, params: FramesParams, *, data_root: Path, store: Path, max_missing: float
) -> Manifest:
    """Decode every video whose frames are not in the store yet, a thread a core.

    Returns:
        The manifest: vid -> frames in the store; `failed` holds the index's missing videos too.

    Raises:
        TooManyMissingError: too many videos failed; the frames of the others stay in the store.
    """
    header = frames_header(
        size=params.size,
        resize=params.resize,
        interpolation=params.interpolation,
        clip_seconds=index.clip_seconds,
    )
    frames = Store(store, "frames", header)

    def make(vid: str) -> Item | VideoError:
        try:
            return _make_one(index.videos[vid], data_root, frames, params.decoder)
        except VideoError as error:
            return error

    items: dict[str, Item] = {}
    failed = dict(index.missing)
    vids = sorted(index.videos)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = tqdm(pool.map(make, vids), total=len(vids), desc="frames", unit="video", disable=None)
        for vid, made in zip(vids, bar, strict=True):
            if isinstance(made, Item):
                items[vid] = made
            else:
                failed[vid] = f"{index.videos[vid].path}: {made}"
    log.info("%d frames of %d videos", sum(item.length for item in items.values()), len(items))
    _report_lengths(index, items)
    check_missing(failed, total=len(index.clips()), share=max_missing)
    return Manifest(header, items, failed)


def _make_one(video: Video, data_root: Path, frames: Store, decoder: Decoder) -> Item:
    key = content_key(frames.header, video.sha256)
    path = data_root / video.path
    return frames.get_or_make(key, lambda: extract_frames(path, frames.header, decoder))


def _report_lengths(index: Index, items: dict[str, Item]) -> None:
    """Log which videos end before their annotation; later stages score the clips that exist."""
    annotated = index.clips()
    shorter = [vid for vid, item in items.items() if item.length < annotated[vid]]
    longer = sum(item.length > annotated[vid] for vid, item in items.items())
    for vid in shorter:
        log.warning(
            "  %s: %d clips decoded, %d annotated; clips past the end have no frame",
            vid,
            items[vid].length,
            annotated[vid],
        )
    if shorter or longer:
        log.warning(
            "%d of %d videos are shorter than annotated, %d longer (the rest is unused)",
            len(shorter),
            len(items),
            longer,
        )
