"""A fast path and what it is measured against, in turns within one run."""

import gc
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyperf

Timer = Callable[[], float]


def cpu_seconds() -> float:
    """Of this process, its threads, and the processes it waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@dataclass(frozen=True)
class Pair:
    """One line of the table.

    Args:
        name: what is computed.
        against_name: the naive way.
        ours, against: compute it once.
        least_ratio: the target, `against` over `ours`.
        most_seconds: the target where it is a time of `ours`.
        rounds: how often each is measured, after one round that warms up.
        timer: wall clock, or `cpu_seconds`.
    """

    name: str
    against_name: str
    ours: Callable[[], object]
    against: Callable[[], object]
    least_ratio: float | None = None
    most_seconds: float | None = None
    rounds: int = 5
    timer: Timer = time.perf_counter


@dataclass(frozen=True)
class Measured:
    """Seconds of both, and whether the target is met."""

    pair: Pair
    ours: pyperf.Benchmark
    against: pyperf.Benchmark

    @property
    def ratio(self) -> float:
        return self.against.median() / self.ours.median()

    @property
    def target(self) -> str:
        if self.pair.least_ratio is not None:
            return f">= {self.pair.least_ratio:g}x"
        return f"<= {self.pair.most_seconds:g} s"

    @property
    def met(self) -> bool:
        if self.pair.least_ratio is not None:
            return self.ratio >= self.pair.least_ratio
        assert self.pair.most_seconds is not None
        return self.ours.median() <= self.pair.most_seconds


def measure(pair: Pair, *, rounds: int | None = None) -> Measured:
    """Both in turns, so that a machine that slows down or is shared slows both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    gc.collect()
    for turn in range(1 + (rounds or pair.rounds)):
        for side, compute in enumerate((pair.ours, pair.against)):
            before = pair.timer()
            compute()
            spent = pair.timer() - before
            if turn:
                seconds[side].append(spent)
    names = (pair.name, f"{pair.name}, {pair.against_name}")
    return Measured(
        pair, *(_benchmark(name, values) for name, values in zip(names, seconds, strict=True))
    )


def _benchmark(name: str, values: list[float]) -> pyperf.Benchmark:
    run = pyperf.Run(values, metadata={"name": name}, collect_metadata=True)
    return pyperf.Benchmark([run])
