"""libdrmaa where its notices and states are not true: the grid's own list is asked."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Collection, Mapping

from dask_gridengine.batch.base import Runner
from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.drmaa.library import Library, State, Unreachable

LOOK_EVERY = 5.0  # seconds; each look lists all of this user's jobs
SOON = 0.5  # seconds from a deletion to the next look
#: Seconds for which a node must be missing in the list, once it was there, and before:
#: a list may show a new one late.
GONE, UNSEEN = LOOK_EVERY, 20.0
NO_SUCH_JOB = "the grid has no such job any more, and no record of how it ended"


class ListedLibrary(Library):
    """As `Library`, but what has ended is read from `BatchSystem.list_jobs`.

    Parameters
    ----------
    contact, dialect
        See `Library`.
    run
        Runs the grid's commands.
    clock
        Seconds since whenever.
    """

    def __init__(
        self,
        contact: str | None,
        dialect: str | None,
        run: Runner,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        super().__init__(contact, dialect)
        self._books = JobList(lambda: self.dialect.list_jobs(run), clock)

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """See `Library.submit`."""
        nodes = super().submit(request, count)
        self._books.follow(nodes)
        return nodes

    def follow(self, nodes: Collection[NodeId]) -> None:
        """These are ours: nodes of a session that died."""
        self._books.follow(nodes)

    def delete(self, job_id: str) -> None:
        """See `Library.delete`."""
        super().delete(job_id)
        self._books.look_soon()

    def next_end(self) -> EndNotice | None:
        """One end that the list has shown, if any."""
        return self._books.next_end()

    def state(self, node: NodeId) -> State:
        """By the list as it was last."""
        return self._books.state(node)


class JobList:
    """Which of our nodes a list has shown as ended, or has ceased to show.

    Parameters
    ----------
    listed
        Every node the grid knows, and its end, or None while it lives.
    clock
        Seconds since whenever.
    """

    def __init__(
        self,
        listed: Callable[[], Mapping[NodeId, EndNotice | None]],
        clock: Callable[[], float],
    ) -> None:
        self._listed, self._clock = listed, clock
        self._seen: dict[NodeId, float] = {}  # those that live, and when last listed
        self._new: set[NodeId] = set()  # those of them that have not been listed yet
        self._ends: deque[EndNotice] = deque()
        self._next = 0.0

    def follow(self, nodes: Collection[NodeId]) -> None:
        """Look after these from now on."""
        self._seen.update(dict.fromkeys(nodes, self._clock()))
        self._new.update(nodes)

    def look_soon(self) -> None:
        """Something was deleted; the list shows that in a moment."""
        self._next = min(self._next, self._clock() + SOON)

    def next_end(self) -> EndNotice | None:
        """One end, if any; looks at the list when that is due.

        Raises
        ------
        Unreachable
            If the grid cannot be asked; that says nothing of any node.
        """
        now = self._clock()
        if not self._ends and self._seen and now >= self._next:
            self._next = now + LOOK_EVERY
            self._look(now)
        return self._ends.popleft() if self._ends else None

    def state(self, node: NodeId) -> State:
        """What the list said last."""
        return State.ALIVE if node in self._seen else State.OVER

    def _look(self, now: float) -> None:
        try:
            listed = self._listed()
        except (OSError, subprocess.SubprocessError) as exc:
            # Silence is not death: the time without a list does not count.
            self._seen = dict.fromkeys(self._seen, now)
            raise Unreachable(str(exc)) from exc
        for node, seen in list(self._seen.items()):
            end = listed.get(node)
            if node in listed and end is None:
                self._seen[node] = now
                self._new.discard(node)
                continue
            timeout = UNSEEN if node in self._new else GONE
            if end is not None or now - seen >= timeout:
                del self._seen[node]
                self._new.discard(node)
                self._ends.append(end or _vanished(node))


def _vanished(node: NodeId) -> EndNotice:
    """A job that is deleted while it queues leaves no trace (Slurm, measured).

    One that has run leaves one for minutes, and has said farewell before.
    """
    return EndNotice(node=node, deleted=True, reason=NO_SUCH_JOB)
