"""What the workers of a Ray cluster are told, and the tasks that decode, which need no torch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from hlclip.formats import Header, Index
from hlclip.params import Params
from hlclip.pipeline.frames import Decoding
from hlclip.store import Store, content_key
from hlclip.system import HlclipError

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
