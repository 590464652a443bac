"""Which nodes a launcher still owes an end notice."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from dataclasses import replace

from dask_gridengine.grid_types import EndCallback, EndNotice, NodeId

logger = logging.getLogger(__name__)


class EndNotices:
    """Sees to it that the end of every node is reported once.

    Parameters
    ----------
    on_end
        The one to report to.
    """

    def __init__(self, on_end: EndCallback) -> None:
        self._on_end = on_end
        self._live: dict[NodeId, bool] = {}  # whether we cancelled it
        self._early: dict[NodeId, EndNotice] = {}

    @property
    def live(self) -> Collection[NodeId]:
        """The nodes whose end is not reported yet."""
        return self._live.keys()

    @property
    def cancelled(self) -> list[NodeId]:
        """Those of them that we cancelled."""
        return [node for node, ours in self._live.items() if ours]

    def enter(self, nodes: Iterable[NodeId]) -> None:
        """Take on new nodes. Ends that came before wait for `catch_up`."""
        self._live.update(dict.fromkeys(nodes, False))

    def cancel(self, nodes: Iterable[NodeId]) -> list[NodeId]:
        """Remember that we cancelled these; returns those that live."""
        known = [node for node in nodes if node in self._live]
        self._live.update(dict.fromkeys(known, True))
        return known

    def end(self, end: EndNotice) -> None:
        """Report an end, or keep it for when its node is entered."""
        if end.node in self._live:
            self._report(end)
        else:
            self._early[end.node] = end

    def catch_up(self, nodes: Iterable[NodeId]) -> None:
        """Report the ends of these that came before they were entered."""
        for node in nodes:
            if (end := self._early.pop(node, None)) is not None:
                self._report(end)

    def forget(self, nodes: Iterable[NodeId]) -> None:
        """Drop the ends of nodes that nobody will ever hear of."""
        for node in nodes:
            self._early.pop(node, None)

    def end_all(self, *, reason: str, cancelled: bool = False) -> None:
        """Report every node that lives as ended."""
        for node in list(self._live):
            self._report(EndNotice(node=node, cancelled=cancelled, reason=reason))

    def _report(self, end: EndNotice) -> None:
        cancelled = self._live.pop(end.node, None)
        if cancelled is None:
            return  # reported already
        if cancelled:
            end = replace(end, cancelled=True, deleted=False, unstarted=False)
        try:
            self._on_end(end)
        except Exception:
            # One bad turn of the cluster's must not cost it the other notices.
            logger.exception("the end of node %s was not taken well", end.node)
