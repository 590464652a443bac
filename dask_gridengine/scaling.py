"""How many workers a user means, and which to give up first. Pure, but for one look."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from dask.utils import parse_bytes
from distributed import Scheduler

from dask_gridengine.config import Options
from dask_gridengine.errors import OptionError


def target(
    options: Options,
    *,
    n: int | None,
    jobs: int | None,
    cores: int | None,
    memory: Any,
) -> int:
    """The number of workers that satisfies all of these.

    Raises
    ------
    OptionError
        If memory is asked for and nobody knows how much a worker has.
    """
    wanted = [n or 0, jobs or 0]
    if cores is not None:
        wanted.append(math.ceil(cores / options.cores))
    if memory is not None:
        if not options.memory:
            raise OptionError(
                "scale(memory=...) needs to know how much a worker has: give"
                " GridEngineCluster(memory=...)"
            )
        wanted.append(math.ceil(parse_bytes(memory) / options.memory))
    return max(wanted)


def to_close(
    scheduler: Scheduler, names: Sequence[str], waiting: Collection[str], count: int
) -> list[str]:
    """Which `count` names to give up: who queues, then who starts, then the idlest.

    Parameters
    ----------
    scheduler
        Knows which workers are idle and hold little.
    names
        All names, oldest first.
    waiting
        Those no node bears yet.
    count
        How many to give up; none if it is not positive.
    """
    if count <= 0:
        return []
    queued = set(waiting)
    started = {ws.name for ws in scheduler.workers.values()}
    newest_first = list(reversed(names))
    ranked = [name for name in newest_first if name in queued]
    ranked += [name for name in newest_first if name not in queued | started]
    if len(ranked) < count:
        idlest = scheduler.workers_to_close(n=count - len(ranked), attribute="name")
        ranked += [name for name in idlest if name in names]
    # The scheduler may keep back who alone could hold the data; the user's word counts.
    ranked += [name for name in newest_first if name not in set(ranked)]
    return ranked[:count]
