"""The connection to a Ray cluster, which one run has at a time."""

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from socket import create_connection

import ray
from ray.exceptions import RayError, RayTaskError

from hlclip.pipeline.cluster_workers import ClusterError
from hlclip.system import HlclipError

log = logging.getLogger(__name__)


@ray.remote(num_cpus=0, max_restarts=-1)
class Turn:
    """Of its name there is one on a cluster; it ends with the process that made it."""


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect to a cluster, and wait until no other run uses it.

    Encoders of two runs could take all cores, and leave none to decode.

    Args:
        address: see `encode_on_ray`.

    Raises:
        ClusterError: there is no cluster, or it failed.
        HlclipError, OSError: of a worker, as it would be raised here.
    """
    try:
        if address not in ("auto", "local"):
            if not (found := re.fullmatch(r"(.+):(\d+)", address)):
                raise ValueError("expected HOST:PORT, auto or local")
            # Ray itself tries for minutes.
            create_connection((found[1], int(found[2])), timeout=10).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"no Ray cluster at {address}: {error}",
            "give HOST:PORT of its head, or auto on a machine of the cluster; every node needs the "
            "same versions of Python and Ray",
        ) from error
    turn = None  # Ray ends an actor to which nothing refers
    try:
        for attempt in count():
            try:
                turn = Turn.options(name="encode", namespace="hlclip").remote()
                break
            except ValueError:  # the name is taken
                if attempt == 0:
                    log.warning("waiting for another `hlclip encode --ray` on this cluster")
                time.sleep(1)
        yield
    except RayTaskError as error:
        if isinstance(error.cause, HlclipError | OSError):
            raise error.cause from None
        raise
    except RayError as error:
        raise ClusterError(f"the Ray cluster failed: {error}", "run this again") from error
    finally:
        del turn
        ray.shutdown()
