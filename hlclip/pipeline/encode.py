"""Frames and activations of what the store lacks, without stages: all of it, or one shard.

An item is a function of one video or query, and its key says of which. So any number of processes,
on any machines, may each make a part of the items, and may make the same part twice. The stages
`frames` and `activations` then find every item.
"""

from pathlib import Path

from hlclip.formats import Index
from hlclip.model import within_memory
from hlclip.params import Params
from hlclip.pipeline.activations import Encoding
from hlclip.pipeline.frames import Decoding
from hlclip.pipeline.shards import KINDS, WHOLE, Encoded, find_missing, find_shard
from hlclip.video import HASHES, read_hashes


@within_memory()
def encode(params: Params, *, store: Path, shard: tuple[int, int] = WHOLE) -> Encoded:
    """Make the missing frames and activations of a shard, in this process.

    A video that cannot be decoded is named in the result, and does not end the run.

    Args:
        shard: number, from 0, and how many there are.

    Raises:
        DataError, AnnotationError, VideoChangedError, VideoUnreadableError, EncoderError,
            StoreError: as in the stages.
    """
    index, total = find_shard(params, store=store, shard=shard)
    done = Encoded(total, len(index.clips()), len(index.texts()), failed=dict(index.missing))
    if not index.clips():
        return done
    root, hashes = Path(params.data.root), read_hashes(store / HASHES)

    def decoding(part: Index) -> Decoding:
        return Decoding(part, params.frames, data_root=root, store=store, hashes=hashes)

    every = decoding(index)
    encoding = Encoding(params.encoder, every.store.header, store=store, device=params.train.device)
    missing, queries = find_missing(index, every, encoding.images, encoding.texts)
    work = decoding(missing)
    frames = work.manifest()
    encoding.videos(frames)
    encoding.queries(queries)
    done.failed |= frames.failed
    for kind, items in zip(KINDS, (work.store, encoding.images, encoding.texts), strict=True):
        done.made[kind] = len(items.made)
    return done
