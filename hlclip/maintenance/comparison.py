"""Frames decoded again and compared with the store, to find items made from another file.

A checksum tells whether a file is as it was written, not whether it was made from the right video.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from hlclip.formats import read_index
from hlclip.maintenance.inventory import stored_items
from hlclip.maintenance.items import Defect
from hlclip.maintenance.references import workspace_manifests
from hlclip.store import (
    DamagedItemError,
    content_key,
    digest,
    how_to_make,
    item_path,
    read_checksums,
)
from hlclip.system import HlclipError
from hlclip.video import HASHES, VideoError, extract_frames, indexed_video, read_hashes


def compare_frames(
    root: Path, workspace: Path, *, data_root: Path
) -> tuple[list[Defect], list[Defect]]:
    """Decode each video of a workspace again and compare its frames with the store's.

    Where they differ, tokens and features that were made from these frames are foreign, too. It
    takes as long as the stage `frames`.

    Args:
        data_root: folder of the data set, `data.root` of params.yaml.

    Returns:
        Items that were made from another file than their key says, and videos that could not be
        compared.

    Raises:
        HlclipError: the workspace has no index or no manifest of frames, or not of one run.
    """
    outputs = workspace / "outputs"
    frames = workspace_manifests(workspace).get("frames")
    if frames is None or not (outputs / "index.json").is_file():
        raise HlclipError(
            f"{outputs}: no index.json or no frames.json, so the videos are unknown",
            "`dvc repro` or `dvc checkout` makes them",
        )
    index, hashes = read_index(outputs / "index.json"), read_hashes(root / HASHES)
    header = frames.header
    videos = {vid: index.videos[vid] for vid in frames.items if vid in index.videos}
    contents, clips = index.frame_contents(), index.clips_apart()
    keys = {vid: content_key(header, contents[vid]) for vid in videos}
    if keys != {vid: item.key for vid, item in frames.items.items()}:
        raise HlclipError(
            f"{outputs}: index.json and frames.json are not of one run",
            "`dvc repro frames` makes both",
        )

    def decode(vid: str) -> str | VideoError:
        path = data_root / videos[vid].path
        try:
            with indexed_video(path, videos[vid], hashes).unchanged():
                return digest(extract_frames(path, header, "ffmpeg", clips=clips.get(vid)))
        except VideoError as error:
            return error

    items = stored_items(root)
    foreign: dict[Path, Defect] = {}
    skipped: list[Defect] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        decoding = pool.map(decode, videos)
        bar = tqdm(decoding, total=len(videos), desc="decode", unit="video", disable=None)
        for (vid, video), decoded in zip(videos.items(), bar, strict=True):
            if isinstance(decoded, VideoError):
                reason = f"cannot be compared: {decoded}"
                skipped.append(Defect(data_root / video.path, reason, "`dvc repro` reads it again"))
                continue
            named = stored = frames.items[vid].digest
            with suppress(DamagedItemError, OSError):  # `verify_store` names these
                stored = read_checksums(item_path(root / "frames", keys[vid])).array
            if named == stored == decoded:
                continue
            derived = content_key({}, keys[vid])[:28]  # begins the keys of what is made from them
            for (kind, key), file in items.items():
                of_frames = kind in ("images", "features") and key.startswith(derived)
                if of_frames or ((kind, key) == ("frames", keys[vid]) and stored != decoded):
                    reason = f"not made from {video.path}"
                    foreign[file.path] = Defect(file.path, reason, how_to_make(kind))
    return list(foreign.values()), skipped
