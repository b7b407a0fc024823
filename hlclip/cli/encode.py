"""`hlclip encode`: frames and activations that the store lacks, on any number of machines."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from typer import Exit, Option, echo

from hlclip.system import HlclipError


def encode(
    params: Annotated[Path, Option(metavar="FILE", help="Parameters of the run.")] = Path(
        "params.yaml"
    ),
    shard: Annotated[
        str | None,
        Option(metavar="I/N", help="Only part I of N parts of the videos; I is 0 to N - 1."),
    ] = None,
    ray: Annotated[
        str | None,
        Option(
            metavar="ADDRESS",
            help="Spread the work over a Ray cluster: HOST:PORT of its head, auto for the one that "
            "runs here, local to start one on this machine.",
        ),
    ] = None,
) -> None:
    """Make the frames and activations that the store lacks, without DVC.

    `dvc repro` makes the same items on one machine. This command makes them on many, and `dvc
    repro` then finds them. It may be stopped and started at any time, and may run many times at
    once on one store. Items that are whole are not made again.

    A shard is chosen by a hash of the video's name, so every machine agrees about it. It opens the
    videos of its part only. All shards together make what one run without --shard makes.

    A video that cannot be decoded is named and left out. The command exits with 1 if more videos
    than data.max_missing, a share of the whole data set, were left out.

    \b
    Examples:
      hlclip encode                                      everything, on this machine
      hlclip encode --shard 0/64                         the first of 64 parts
      hlclip encode --shard $SLURM_ARRAY_TASK_ID/64      in a job array of 0-63
      hlclip encode --ray auto                           on the Ray cluster of this machine
    """
    # Refused before torch loads.
    if ray is not None and shard is not None:
        raise HlclipError("--shard and --ray were given", "give one: Ray divides the work itself")
    if ray is not None and find_spec("ray") is None:
        raise HlclipError("hlclip encode --ray needs Ray", "pip install 'hlclip[ray]'")
    from hlclip.params import load_params
    from hlclip.pipeline.missing import TooManyMissingError, check_missing
    from hlclip.pipeline.shards import WHOLE, parse_shard
    from hlclip.store import holding, store_root

    values = load_params(params)
    part = WHOLE if shard is None else parse_shard(shard)
    start = time.monotonic()
    with holding(store_root()) as store:
        if ray is None:
            from hlclip.pipeline.encode import encode as work

            done = work(values, store=store, shard=part)
        else:
            from hlclip.pipeline.cluster import encode_on_ray

            done = encode_on_ray(values, store=store, address=ray)
    try:
        check_missing(done.failed, total=done.total, share=values.data.max_missing, shown=None)
        status = 0
    except TooManyMissingError as error:
        echo(error.message(), err=True)
        status = 1
    made = ", ".join(f"{count:,} {kind}" for kind, count in done.made.items())
    echo(
        f"{done.videos:,} of {done.total:,} videos, {done.queries:,} queries: made {made} in "
        f"{time.monotonic() - start:,.1f} s; {len(done.failed):,} videos failed"
    )
    if status:
        raise Exit(status)
