"""Places in the queue that nobody needs at the moment. Pure.

A place may be worth hours, so a lull costs none: the next rise uses it, or its node is
told to leave when it arrives. But a place kept for ever is a lie to the scheduler of
the grid and to whoever looks at its queue.
"""

from __future__ import annotations

from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState


class IdleQueueSlots:
    """Says which places to give back, when they have not been needed for long.

    Parameters
    ----------
    grace
        Seconds a place is kept that nobody needs.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._needless = 0  # how many have been so ever since, at the least
        self._since = 0.0

    def due(self, registry: NodeRegistry, now: float) -> list[NodeRecord]:
        """The newest of those that nobody has needed for the whole time.

        Parameters
        ----------
        roster
            Of a cluster whose submissions are all answered.
        now
            Seconds, of the roster's clock.
        """
        needless = max(0, registry.expected - len(registry.unbound))
        if not self._needless:
            self._since = now
            self._needless = needless
        self._needless = min(self._needless, needless)
        if not self._needless or now - self._since < self._grace:
            return []
        queued = registry.in_state(NodeState.QUEUED)
        going = queued[len(queued) - min(self._needless, len(queued)) :]
        self._needless = 0  # the rest begins anew
        return going
