"""The actors of a Ray cluster that encode."""

from collections.abc import Mapping

import numpy as np
import ray
from numpy.typing import NDArray

from hlclip.formats import Header
from hlclip.pipeline.activations import Encoding
from hlclip.pipeline.cluster_workers import TRIES, Job
from hlclip.store import FORMAT_VERSION
from hlclip.video import frames_header


@ray.remote(max_restarts=TRIES, max_task_retries=TRIES)
class Encoder:
    """A trunk on one GPU, or on some cores of a node."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._loaded: Encoding | None = None

    def _encoding(self) -> Encoding:
        # Not loaded in __init__, whose errors Ray reports as the death of the actor.
        if self._loaded is None:
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
