"""What a launcher is: it starts nodes as arrays, stops them, and says when they end.

A launcher knows nothing of Dask and nothing of the door. It takes a `NodeRequest`
(what one node asks of the grid) and a count, and from then on speaks only of `NodeId`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.grid_types import (
    AccountingRecord,
    ArrayReport,
    NodeId,
    NodeRequest,
)


class Launcher(Protocol):
    """Starts nodes and stops them. Knows nothing about Dask.

    End notices arrive through the callback given when the launcher was opened, once
    for every node that `submit` returned, in the event loop the launcher was opened
    in, and not before the caller of `submit` has its answer.
    """

    kind: str  # "drmaa" or "process"
    description: str  # one line for people: what it is and where, e.g. "SGE 8.1.9"
    dialect: BatchSystem  # of the grid behind it
    slots: int | None  # of this machine, for local processes; None on a grid

    async def submit(self, request: NodeRequest, count: int) -> Sequence[NodeId]:
        """Queue `count` nodes as one array: all of them, or raise `LauncherError`."""
        ...

    async def cancel(self, nodes: Collection[NodeId]) -> None:
        """Stop these nodes, queued or running. Nodes already gone are a no-op.

        Their end notices come when they are gone, which may be seconds later.
        """
        ...

    async def ask_about(self, nodes: Collection[NodeId]) -> None:
        """Have the grid asked soon about these, which have gone silent.

        If one is over its end notice comes, if not nothing does. Does not wait for
        the answer, and never raises: a grid that is silent too is asked about every
        node when it speaks again.
        """
        ...

    async def hosts(self, native: str) -> frozenset[str] | None:
        """The hosts where these submit options could run; None if nobody can tell."""
        ...

    async def queue_limit(self, queue: str) -> float | None:
        """Seconds after which a queue ends its jobs; None if no end is known."""
        ...

    async def array_running(self) -> int | None:
        """How many nodes of one array may run at once; None if nothing limits it."""
        ...

    async def report(self, job: str, native: str) -> ArrayReport | None:
        """What the grid says of an array with these submit options; None if nothing."""
        ...

    async def suspended(self) -> frozenset[NodeId] | None:
        """Nodes that the grid has suspended; None if that is unknown."""
        ...

    async def account(
        self, node: NodeId, timeout: float = 0.0
    ) -> AccountingRecord | None:
        """What the accounting says of a node that has ended; None if nothing.

        May take seconds, and is no longer asked where it took too many. A record may
        come late, so this tries again for `timeout` seconds: Grid Engine writes them
        15 s after an end at the latest, unless its admins chose another time.
        """
        ...

    async def aclose(self) -> None:
        """Cancel whatever is left and let go. Idempotent; never raises."""
        ...
