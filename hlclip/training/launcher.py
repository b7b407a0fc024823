"""Start the processes of a training on this machine, or join those that `torchrun` started."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from tempfile import TemporaryDirectory
from typing import cast

import torch
import torch.distributed as dist
from torch.multiprocessing import get_context
from torch.multiprocessing.spawn import (
    ProcessExitedException,
    ProcessRaisedException,
    start_processes,
)

from hlclip.system import HlclipError, log_to_stderr
from hlclip.training.ranks import ALONE, RESUMES, ProcessesError, Ranks


@contextmanager
def joined(processes: int) -> Iterator[Ranks]:
    """This process among those that train, for the block: `ALONE` unless somebody started several.

    Args:
        processes: `train.processes`, a fact of the result.

    Raises:
        ProcessesError: `torchrun` started another number.
    """
    if dist.is_initialized():  # by `launch`
        yield Ranks.of_this_process()
    elif dist.is_torchelastic_launched():
        ranks = Ranks.of_this_process()
        if ranks.count != processes:
            raise ProcessesError(
                f"torchrun started {ranks.count} processes, but train.processes is {processes}, "
                "and the result depends on their number",
                "make them equal",
                settings={"train.processes": ranks.count},
            )
        if ranks.count > 1:
            _join(ranks, "env://")
        yield ranks
        if ranks.count > 1:
            dist.destroy_process_group()
    else:
        yield ALONE


def launch(processes: int, work: Callable[[], None]) -> None:
    """Run `work` in so many new processes at once; none of them outlives this call.

    When one ends with an error the others are ended.

    Args:
        work: can be pickled; finds the others with `joined`.

    Raises:
        ProcessesError: a process was ended, by the system for example.
        HlclipError, OSError, MemoryError: the error of the process that ended first.
    """
    # It would say at each end of a process that it ends the others.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    # The server loads torch once, and is copied. New processes would load it one after the other:
    # the start of each waits until its arguments, which are larger than a pipe, are read.
    context = get_context("forkserver")
    context.set_forkserver_preload(["hlclip.training"])
    errors = context.SimpleQueue()
    with TemporaryDirectory(prefix="hlclip-") as folder:
        arguments = (processes, f"file://{folder}/meeting", work, errors)
        workers = start_processes(
            _worker, arguments, processes, join=False, daemon=True, start_method="forkserver"
        )
        assert workers is not None  # as it is without `join=False`
        try:
            while not workers.join():
                pass
        except ProcessRaisedException:
            if errors.empty():
                raise  # a bug: torch's error has the traceback
            raise errors.get() from None
        except ProcessExitedException as error:
            how = error.signal_name or f"exit status {error.exit_code}"
            raise ProcessesError(
                f"process {error.error_index} of the {processes} that train ended with {how}"
                + (" (the system sends it when memory runs out)" if how == "SIGKILL" else ""),
                RESUMES,
            ) from None
        finally:
            for worker in cast("list[BaseProcess]", workers.processes):
                worker.kill()
                worker.join()


def _worker(
    rank: int,
    processes: int,
    meeting: str,
    work: Callable[[], None],
    errors: SimpleQueue[Exception],
) -> None:
    """Run `work` as one of the processes that `launch` starts; it tells its error."""
    ranks = Ranks(rank, processes, rank, processes)
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_RANK": str(rank),
        "LOCAL_WORLD_SIZE": str(processes),
    }
    log_to_stderr(quiet=not ranks.first)
    try:
        _join(ranks, meeting)
        work()
        dist.destroy_process_group()
    except (HlclipError, OSError, MemoryError) as error:
        errors.put(error)
        raise


def _join(ranks: Ranks, meeting: str) -> None:
    """Connect to the other processes, and leave them their share of the processor."""
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // ranks.local_count))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
        init_method=meeting,
        rank=ranks.rank,
        world_size=ranks.count,
    )
