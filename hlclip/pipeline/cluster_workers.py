"""The workers of a Ray cluster: tasks that decode, and actors that encode.

Torch is loaded by the actors alone: the driver and the tasks do without.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray
from numpy.typing import NDArray

from hlclip.formats import Header, Index
from hlclip.params import Params
from hlclip.pipeline.frames import Decoding
from hlclip.store import FORMAT_VERSION, Store, content_key
from hlclip.system import HlclipError
from hlclip.video import frames_header

if TYPE_CHECKING:
    from hlclip.pipeline.activations import Encoding

TRIES = 3
"""Ray repeats so often what a lost worker or node had in hand; never what raised an exception."""


class ClusterError(HlclipError):
    """There is no Ray cluster at the address, a node lacks something, or all encoders are lost."""


@dataclass(frozen=True)
class Job:
    """What every worker is told."""

    params: Params
    folder: Path
    """Relative paths of the parameters start here, on every node."""
    store: Path
    device: str

    def enter(self) -> None:
        """Go to the folder of the job.

        Raises:
            ClusterError: this node does not have it.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ClusterError(
                f"{self.folder} on node {ray.util.get_node_ip_address()}: {error.strerror}",
                "every node needs the data set and the model under the same paths",
            ) from error


@dataclass(frozen=True)
class Decoded:
    """The status of a decoded batch."""

    node: str
    frame_keys: dict[str, str]
    """vid -> key of its frames, of videos whose tokens the store lacks."""
    failed: dict[str, str]
    """vid -> reason."""
    made: int
    """Items written."""


@ray.remote(num_returns=2, max_retries=TRIES, scheduling_strategy="SPREAD")
def decode(
    job: Job, images: Header, part: Index, hashes: Mapping[str, Any]
) -> tuple[Decoded, dict[str, NDArray[np.uint8]]]:
    """Put the frames of a batch into the store; return those whose tokens the store lacks.

    Args:
        images: header of the tokens.
        hashes: from `read_hashes`, those of these videos.
    """
    job.enter()
    decoding = Decoding(
        part,
        job.params.frames,
        data_root=Path(job.params.data.root),
        store=job.store,
        hashes=hashes,
    )
    tokens = Store(job.store, "images", images)
    failed: dict[str, str] = {}
    pixels: dict[str, NDArray[np.uint8]] = {}
    for vid, key in decoding.keys.items():
        item = decoding.item(vid)
        if isinstance(item, str):
            failed[vid] = item
        elif not tokens.holds(content_key(images, key)):
            pixels[vid] = decoding.store.read(item)
    keys = {vid: decoding.keys[vid] for vid in pixels}
    node = ray.get_runtime_context().get_node_id()
    return Decoded(node, keys, failed, len(decoding.store.made)), pixels


@ray.remote(max_restarts=TRIES, max_task_retries=TRIES)
class Encoder:
    """A trunk on one GPU, or on some cores of a node."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loaded: Encoding | None = None

    def _encoding(self) -> "Encoding":
        # Not loaded in __init__, whose errors Ray reports as the death of the actor.
        if self._loaded is None:
            from hlclip.pipeline.activations import Encoding  # noqa: PLC0415 (loads torch)

            job, params = self._job, self._job.params
            job.enter()
            settings = params.frames.model_dump(exclude={"decoder"})
            frames = frames_header(**settings, clip_seconds=params.data.clip_seconds)
            self._loaded = Encoding(params.encoder, frames, store=job.store, device=job.device)
        return self._loaded

    def headers(self) -> tuple[int, Header, Header]:
        """Format of the store, headers of images and texts: the same on every node, or wrong."""
        encoding = self._encoding()
        return FORMAT_VERSION, encoding.images.header, encoding.texts.header

    def videos(self, frame_keys: dict[str, str], pixels: Mapping[str, NDArray[np.uint8]]) -> int:
        """Put the tokens of a batch into the store; how many items were written."""
        encoding = self._encoding()
        before = len(encoding.images.made)
        list(encoding.each(frame_keys, pixels.__getitem__))
        return len(encoding.images.made) - before

    def queries(self, queries: list[str]) -> int:
        """Put the tokens of queries into the store; how many items were written."""
        encoding = self._encoding()
        before = len(encoding.texts.made)
        encoding.queries(queries, progress=False)
        return len(encoding.texts.made) - before
