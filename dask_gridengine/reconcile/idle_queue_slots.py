"""Find queue places that have not been needed for long.

A place may be worth hours, so a lull costs none: the next rise uses it, or its node is
not needed when it arrives. But a place that is kept for ever misleads the scheduler of
the grid and other users of the queue.
"""

from __future__ import annotations

from dask_gridengine.nodes.registry import NodeRecord, NodeRegistry, NodeState


class IdleQueueSlots:
    """Chooses queue places to give back: not needed for `grace` seconds."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._needless = 0  # the smallest number since `_since`
        self._since = 0.0

    def due(self, registry: NodeRegistry, now: float) -> list[NodeRecord]:
        """The newest queued nodes that were not needed for the whole time.

        All submissions must have been answered.
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
        self._needless = 0  # the time of the others begins again
        return going
