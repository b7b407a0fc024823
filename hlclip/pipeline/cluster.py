"""Frames and activations of what the store lacks, on a Ray cluster.

Ray places the work, and repeats what a lost worker or node had in hand. CPU tasks decode batches of
videos. One encoder per GPU, or per node where none has a GPU, computes tokens. Frames go from task
to encoder through Ray's object store, which is shared memory within a node. Items go to the store.
The driver, this process, sees keys, counts and reasons alone.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from tqdm import tqdm

from hlclip.formats import Header, Index
from hlclip.params import Params
from hlclip.pipeline.cluster_connection import connected
from hlclip.pipeline.cluster_workers import TRIES, ClusterError, Decoded, Encoder, Job, decode
from hlclip.pipeline.frames import Decoding
from hlclip.pipeline.shards import Encoded, find_missing, find_shard
from hlclip.store import Store
from hlclip.video import HASHES, read_hashes

_BATCH_CLIPS = 1000
"""Of a batch at most: frames of 150 MB at 224 pixels."""
_BATCH_VIDEOS = 250
"""Of a batch at most."""
_SHARES = 4
"""Batches per CPU at least, so that no CPU idles long at the end."""


@dataclass(frozen=True)
class _Batch:
    part: Index
    lost: int = 0
    """How often Ray gave up this batch, when it had one video."""

    def halves(self) -> Iterator["_Batch"]:
        vids = sorted(self.part.videos)
        middle = ceil(len(vids) / 2)
        for some in filter(None, (vids[:middle], vids[middle:])):
            yield _Batch(self.part.part(set(some)), self.lost + (len(vids) == 1))


@dataclass(eq=False)
class _Worker:
    """An encoder as the driver sees it."""

    actor: Any
    node: str
    waiting: int = 0
    """Batches that it was given."""


def encode_on_ray(params: Params, *, store: Path, address: str) -> Encoded:
    """Make the missing frames and activations of a data set on a Ray cluster.

    Args:
        address: `HOST:PORT` of the cluster's head; `auto` for a cluster that runs on this machine,
            `local` to start one.

    Raises:
        ClusterError: see there.
        HlclipError: as `encode`.
    """
    index, total = find_shard(params, store=store)
    done = Encoded(total, total, len(index.texts()), failed=dict(index.missing))
    with connected(address):
        workers, job = _start_encoders(params, store.absolute())
        images_header, texts_header = _agreed(workers)
        images, texts = Store(store, "images", images_header), Store(store, "texts", texts_header)
        hashes, root = read_hashes(store / HASHES), Path(params.data.root)
        every = Decoding(index, params.frames, data_root=root, store=store, hashes=hashes)
        missing, queries = find_missing(index, every, images, texts)
        known = {
            vid: {path: hashes[path]}
            for vid, video in missing.videos.items()
            if (path := str((root / video.path).resolve())) in hashes
        }
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        run = _Run(
            (ray.put(job), images_header),
            known,
            workers,
            done,
            most=2 * (cpus + len(workers)),
            batches=deque(_batches(missing, shares=_SHARES * cpus)),
            texts=deque(
                queries[start : start + _BATCH_VIDEOS]
                for start in range(0, len(queries), _BATCH_VIDEOS)
            ),
        )
        total = len(missing.videos)
        with tqdm(total=total, desc="encode", unit="video", disable=None) as run.bar:
            run.work()
    return done


@dataclass
class _Run:
    """A bounded number of batches in flight; each is decoded, then encoded."""

    job: tuple[Any, Header]
    hashes: dict[str, dict[str, Any]]
    workers: list[_Worker]
    done: Encoded
    most: int
    """Batches in flight."""
    batches: deque[_Batch]
    texts: deque[list[str]]
    bar: Any = None
    decoding: dict[Any, tuple[_Batch, Any]] = field(default_factory=dict)
    """Status -> batch, pixels; the keys and the pixels are references to Ray's objects."""
    encoding: dict[Any, tuple[_Batch | list[str], _Worker]] = field(default_factory=dict)

    def work(self) -> None:
        while self.batches or self.texts or self.decoding or self.encoding:
            while self.texts and len(self.encoding) < self.most:
                queries = self.texts.popleft()
                worker = self._least_busy()
                self.encoding[worker.actor.queries.remote(queries)] = queries, worker
            while self.batches and len(self.decoding) + len(self.encoding) < self.most:
                batch = self.batches.popleft()
                known = {
                    k: v for vid in batch.part.videos for k, v in self.hashes.get(vid, {}).items()
                }
                given: Any = decode.remote(*self.job, batch.part, known)
                status, pixels = given
                self.decoding[status] = batch, pixels
            (ready,), _ = ray.wait([*self.decoding, *self.encoding], num_returns=1)
            if ready in self.decoding:
                self._decoded(ready, *self.decoding.pop(ready))
            else:
                self._encoded(ready, *self.encoding.pop(ready))

    def _decoded(self, ready: Any, batch: _Batch, pixels: Any) -> None:
        try:
            status: Decoded = ray.get(ready)
        except RayTaskError:
            raise
        except RayError as error:
            self._again(batch, error)
            return
        self.done.failed |= status.failed
        self.done.made["frames"] += status.made
        self.bar.update(len(batch.part.videos) - len(status.frame_keys))
        if status.frame_keys:
            worker = self._least_busy(status.node)
            rest = _Batch(batch.part.part(status.frame_keys.keys()), batch.lost)
            self.encoding[worker.actor.videos.remote(status.frame_keys, pixels)] = rest, worker

    def _encoded(self, ready: Any, batch: _Batch | list[str], worker: _Worker) -> None:
        worker.waiting -= 1
        try:
            made: Any = ray.get(ready)
        except RayTaskError:
            raise
        except RayError as error:
            if isinstance(error, RayActorError | ActorUnschedulableError):
                self.workers = [each for each in self.workers if each is not worker]
            if isinstance(batch, _Batch):
                self._again(batch, error)
            else:
                self.texts.append(batch)
            return
        if isinstance(batch, _Batch):
            self.done.made["images"] += made
            self.bar.update(len(batch.part.videos))
        else:
            self.done.made["texts"] += made

    def _again(self, batch: _Batch, error: RayError) -> None:
        """Ray has given up a batch: try halves, until the video is found that ends its workers."""
        if batch.lost < TRIES:
            self.batches.extend(batch.halves())
            return
        ((vid, video),) = batch.part.videos.items()
        self.done.failed[vid] = f"{video.path}: its worker died each time: {error}"
        self.bar.update()

    def _least_busy(self, node: str = "") -> _Worker:
        """The encoder with the least to do; one on the same node may have two batches more."""
        if not self.workers:
            raise ClusterError(
                "all encoders of the Ray cluster were lost", "run this again: what is made is kept"
            )
        worker = min(self.workers, key=lambda each: each.waiting - 2 * (each.node == node))
        worker.waiting += 1
        return worker


def _start_encoders(params: Params, store: Path) -> tuple[list[_Worker], Job]:
    """One encoder per GPU; where no node has GPUs, one per node with half of its cores."""
    nodes = [(node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"]]
    gpus = any(resources.get("GPU", 0) >= 1 for _, resources in nodes)
    job = Job(params, Path.cwd(), store, "auto" if gpus else "cpu")
    workers: list[_Worker] = []
    for node, resources in nodes:
        cpus = int(resources.get("CPU", 0))
        # Bound to its node: an encoder that moved would take the cores that decode elsewhere.
        start = Encoder.options(
            num_gpus=int(gpus),
            num_cpus=0 if gpus else cpus // 2,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        count = int(resources.get("GPU", 0)) if gpus else min(cpus, 1)
        workers += [_Worker(start.remote(job), node) for _ in range(count)]
    if not workers:
        raise ClusterError(
            "the Ray cluster has neither CPUs nor GPUs", "start nodes that have some"
        )
    return workers, job


def _agreed(workers: list[_Worker]) -> tuple[Header, Header]:
    """Headers of images and texts, which all encoders must agree on."""
    answers = ray.get([worker.actor.headers.remote() for worker in workers])
    for worker, found in zip(workers, answers, strict=True):
        if found != answers[0]:
            raise ClusterError(
                f"node {worker.node} has {found}, node {workers[0].node} has {answers[0]}",
                "install the same hlclip and the same weights on every node",
            )
    return answers[0][1:]


def _batches(part: Index, *, shares: int) -> Iterator[_Batch]:
    """Videos by vid in batches: hundreds where they are short and many."""
    clips, vids = part.clips(), sorted(part.videos)
    most = min(_BATCH_VIDEOS, ceil(len(vids) / shares))
    batch: set[str] = set()
    length = 0
    for vid in vids:
        if batch and (len(batch) == most or length + clips[vid] > _BATCH_CLIPS):
            yield _Batch(part.part(batch))
            batch, length = set(), 0
        batch.add(vid)
        length += clips[vid]
    if batch:
        yield _Batch(part.part(batch))
