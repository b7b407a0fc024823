"""What a data set lacks in the store, of all its videos or of one shard; loads no torch."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from hlclip.formats import Index
from hlclip.params import Params
from hlclip.pipeline.frames import Decoding
from hlclip.pipeline.index import find_data, read_queries
from hlclip.store import Store, content_key
from hlclip.system import HlclipError
from hlclip.video import HASHES

WHOLE = (0, 1)
"""The only shard of one."""


class ShardError(HlclipError):
    """A shard is not I/N."""


@dataclass
class Encoded:
    """What a run of `encode` found, made and could not make."""

    total: int
    """Videos of the whole data set."""
    videos: int = 0
    """Videos of the shard."""
    queries: int = 0
    """Texts of the shard."""
    made: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """Kind -> items that this run has written."""
    failed: dict[str, str] = field(default_factory=dict)
    """vid -> reason, of the shard."""


KINDS = ("frames", "images", "texts")


def parse_shard(text: str) -> tuple[int, int]:
    """I and N of `I/N`.

    Raises:
        ShardError: it is not two numbers, or I is not 0 to N - 1.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if not found:
        raise ShardError(f"got {text!r}, expected I/N, such as 0/8", "I is 0 to N - 1")
    number, count = map(int, found.groups())
    if number >= count:
        counted = f"shards are counted from 0: 0/{count} to {count - 1}/{count}"
        reason = f"{text}: there is no shard {number} of {count}"
        raise ShardError(reason, counted if count else "N is 1 or more")
    return number, count


def in_shard(vid: str, shard: tuple[int, int]) -> bool:
    """Whether a video belongs to a shard: by a hash of its vid, so that every machine agrees."""
    number, count = shard
    return int.from_bytes(hashlib.sha256(vid.encode()).digest()) % count == number


def find_shard(params: Params, *, store: Path, shard: tuple[int, int] = WHOLE) -> tuple[Index, int]:
    """The videos of a shard with their rows, and how many videos the whole data set has.

    Only files of the shard are opened and hashed.

    Raises:
        DataError, AnnotationError, VideoUnreadableError: see `build_index`.
    """
    queries = read_queries(params.data)
    everything = Index(params.data.clip_seconds, queries, {}, {})
    vids = everything.clips().keys()
    mine = everything.part({vid for vid in vids if in_shard(vid, shard)})
    return find_data(params.data, mine.queries, cache=store / HASHES), len(vids)


def find_missing(
    index: Index, decoding: Decoding, images: Store, texts: Store
) -> tuple[Index, list[str]]:
    """The videos and the queries that lack items, by a quick look at each, see `Store.holds`."""
    vids = {
        vid
        for vid, key in decoding.keys.items()
        if not (decoding.store.holds(key) and images.holds(content_key(images.header, key)))
    }
    lacking = [t for t in index.texts() if not texts.holds(content_key(texts.header, t))]
    return index.part(vids), lacking
