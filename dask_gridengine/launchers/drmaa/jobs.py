"""What the DRMAA session knows of its jobs, and what it has yet to do about them."""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import EndCallback, EndNotice, NodeId
from dask_gridengine.launchers.drmaa.library import (
    EVERYTHING,
    NO_RECORD,
    Failed,
    Library,
    State,
    Unreachable,
)

SLICE = 0.05  # seconds of deletions and questions between looks at everything else
HEARTBEAT = 5.0  # seconds between questions about one node, whichever's turn it is
GRACE = 10.0  # seconds a notice may lag behind the state it is about
RETRY = 2.0  # seconds between tries while the master does not answer
#: So many neighbours are deleted in one call, if the grid has one. Grid Engine's takes
#: 50 to 90 ms for 200 or 2,000, DRMAA's 0.75 to 1 ms for each (measured on 8.1.9).
MANY = 64

# Seconds after an outage at which every node is asked about. A restarted master shows
# what ended meanwhile as running for ten minutes: execds hold their reports back so
# long (measured on Son of Grid Engine 8.1.9).
RECHECKS = (0.0, 60.0, 660.0)

# Seconds after which a submission without answer is looked for: it may land late.
SEARCHES = (0.0, 60.0)

LOST = (
    "it is over, and the grid never said how; so it is after its master was restarted"
)
UNSURE = (
    "the grid has no record of how; so it is for nodes that end while its master, or"
    " our session with it, is away, or for one deleted before it started"
)


class TaskRange(NamedTuple):
    """Nodes of one array, from one index to another."""

    job: str
    first: int
    last: int

    @property
    def nodes(self) -> list[NodeId]:
        """Each of them."""
        return [NodeId(self.job, i) for i in range(self.first, self.last + 1)]


def neighbours(nodes: Collection[NodeId]) -> Iterator[TaskRange]:
    """These nodes, as few groups as they can be.

    Examples
    --------
    >>> list(neighbours([NodeId("7", 3), NodeId("7", 1), NodeId("7", 2)]))
    [TaskRange(job='7', first=1, last=3)]
    """
    ordered = sorted(nodes, key=lambda node: (node.job, node.index))

    def alike(numbered: tuple[int, NodeId]) -> tuple[str, int]:
        number, node = numbered
        return node.job, node.index - number  # which neighbours have in common

    for _, group in itertools.groupby(enumerate(ordered), alike):
        members = [node for _, node in group]
        yield TaskRange(members[0].job, members[0].index, members[-1].index)


class Jobs:
    """The live nodes of one session. Nothing here waits; `turn` does what is due.

    Parameters
    ----------
    on_end
        Told of the end of every node, once.
    on_note
        Told what people should know of the master.
    find
        Finds job ids by name and mark, as `find_marked` does.
    delete_neighbours
        Deletes many nodes in one call; False if they have to go one by one.
    clock
        Seconds since whenever.
    """

    def __init__(
        self,
        library: Library,
        *,
        on_end: EndCallback,
        on_note: Callable[[str], None],
        find: Callable[[str, str], list[str]],
        delete_neighbours: Callable[[TaskRange], bool],
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._clock = clock
        self._find, self._delete_neighbours = find, delete_neighbours
        self._library = library
        self._on_end, self._on_note = on_end, on_note
        self._live: dict[NodeId, None] = {}
        self._doomed: set[NodeId] = set()  # we asked for their deletion
        self._wanted: Counter[str] = Counter()  # the others, by job
        #: Job ids, task ids, EVERYTHING, or many at once.
        self._deletions: deque[str | TaskRange] = deque()
        # Ordered sets. A plain dict is slow to pop from the front many times.
        self._silent: OrderedDict[NodeId, None] = OrderedDict()  # asked about first
        self._grid_info: OrderedDict[NodeId, None] = OrderedDict()
        self._round: Iterator[NodeId] = iter(())  # whose turn the heartbeat is
        self._over: dict[NodeId, float] = {}  # since when the grid says so
        #: Those whose notice has come in an outage; it may be false, and is the last.
        self._doubted: dict[NodeId, None] = {}
        self._rechecks: deque[float] = deque()
        self._succeeding = float("-inf")  # until when notices may tell of the past
        self._searches: list[tuple[float, str, str]] = []  # when; name and mark
        self._heartbeat = 0.0
        self._failures = 0  # in a row, up to the last call
        self._retry = 0.0

    @property
    def live(self) -> int:
        """How many nodes are not known to be over."""
        return len(self._live)

    @property
    def undeleted(self) -> int:
        """How many deletions and searches the master has not answered yet."""
        return len(self._deletions) + len(self._searches)

    @property
    def busy(self) -> bool:
        """Whether there is something to do at once."""
        return not self._failures and bool(
            self._deletions or self._silent or self._grid_info
        )

    def add(self, nodes: Collection[NodeId]) -> None:
        """Look after these from now on."""
        new = [node for node in nodes if node not in self._live]
        self._live.update(dict.fromkeys(new))
        self._library.follow(new)
        self._wanted.update(node.job for node in new)
        self.answered()

    def adopt(self, nodes: Collection[NodeId]) -> None:
        """Look after the nodes of a session that died; some may have ended since."""
        self.add(nodes)
        self.recheck()
        self._succeeding = self._clock() + GRACE

    def recheck(self) -> None:
        """Ask about every node: something may have been missed."""
        self._grid_info = OrderedDict.fromkeys(self._live)

    def ask(self, nodes: Collection[NodeId]) -> None:
        """Ask about these, which have gone silent, before all others."""
        if self._failures:
            return  # after the outage every node is asked about anyway
        self._silent.update((node, None) for node in nodes if node in self._live)

    def delete(self, nodes: Collection[NodeId]) -> None:
        """Have these deleted: by their job's id where the whole job goes."""
        chosen = [node for node in nodes if node in self._live]
        for node in chosen:
            if node not in self._doomed:
                self._doomed.add(node)
                self._wanted[node.job] -= 1
        whole = {node.job: None for node in chosen if not self._wanted[node.job]}
        self._deletions.extend(whole)
        for group in neighbours([node for node in chosen if node.job not in whole]):
            if len(group.nodes) >= MANY:
                self._deletions.append(group)
            else:
                self._deletions.extend(
                    map(self._library.dialect.format_job_id, group.nodes)
                )

    def delete_all(self) -> None:
        """Have everything deleted, also jobs whose submission we never heard of."""
        self._doomed.update(self._live)
        self._wanted.clear()
        jobs = {node.job: None for node in self._live}
        everything = [EVERYTHING] if self._library.dialect.deletes_session else []
        self._deletions = deque([*jobs, *everything])
        lost = {(name, submission_id) for _, name, submission_id in self._searches}
        self._searches = [
            (0.0, name, submission_id) for name, submission_id in sorted(lost)
        ]

    def delete_unacknowledged(self, name: str, submission_id: str) -> None:
        """Have that deleted which a submission without answer may yet queue."""
        if not submission_id:
            return
        now = self._clock()
        self._searches += [(now + delay, name, submission_id) for delay in SEARCHES]

    def turn(self) -> None:
        """Pass on what has ended; then delete and ask for a moment."""
        try:
            while (end := self._library.next_end()) is not None:
                self._noticed(end)
            if not self._failures or self._clock() >= self._retry:
                self._work()
        except (Unreachable, Failed) as exc:
            self.failed(str(exc))

    def failed(self, text: str) -> None:
        """Take note that a call failed. It says nothing about any node."""
        self._retry = self._clock() + RETRY
        self._failures += 1
        if self._failures == 2:  # one answer lost is not worth a word
            title = self._library.dialect.title
            self._on_note(f"{title} does not answer, running nodes go on: {text}")

    def answered(self) -> None:
        """Take note that a call went through."""
        if self._failures:
            if self._failures > 1:
                self._on_note(f"{self._library.dialect.title} answers again")
            self._failures = 0
            now = self._clock()
            self._rechecks = deque(now + delay for delay in RECHECKS)

    def _work(self) -> None:
        now = self._clock()
        self._plan(now)
        for search in [search for search in self._searches if search[0] <= now]:
            self._search(*search)
            self.answered()
        while self._deletions and self._clock() < now + SLICE:
            self._delete(self._deletions[0])
            self.answered()
        while (waiting := self._silent or self._grid_info) and (
            self._clock() < now + SLICE
        ):
            self._ask(waiting.popitem(last=False)[0])
            self.answered()

    def _plan(self, now: float) -> None:
        if self._rechecks and now >= self._rechecks[0]:
            self._rechecks.popleft()
            self.recheck()
        if self._live and now >= self._heartbeat:
            # An outage can go unnoticed, `next_end` only stays silent. One question
            # at a time keeps the cost the same for any number of nodes.
            self._heartbeat = now + HEARTBEAT
            self._grid_info[self._next_turn()] = None
            self._grid_info.update(self._doubted)
        for node, since in self._over.items():
            if now >= since + GRACE:
                self._grid_info[node] = None

    def _next_turn(self) -> NodeId:
        # Of those that have ended since the round began nobody is asked: a question
        # that is not put would not notice an outage either.
        for node in self._round:
            if node in self._live:
                return node
        self._round = iter(list(self._live))
        return next(self._round)

    def _search(self, when: float, name: str, submission_id: str) -> None:
        try:
            self._deletions.extend(self._find(name, submission_id))
        except Failed as exc:  # no qstat: there will be none next time
            self._on_note(f"job {name!r} may be in the queue without a cluster: {exc}")
        self._searches.remove((when, name, submission_id))

    def _delete(self, what: str | TaskRange) -> None:
        if isinstance(what, TaskRange):
            self._deletions.popleft()
            if not self._delete_neighbours(what):
                form = self._library.dialect.format_job_id
                self._deletions.extendleft(map(form, reversed(what.nodes)))
            return
        try:
            self._library.delete(what)
        except Failed:
            self._deletions.rotate(-1)  # the others shall not wait for it
            raise
        self._deletions.popleft()

    def _ask(self, node: NodeId) -> None:
        if node not in self._live:
            return
        if self._library.state(node) is State.ALIVE:
            self._over.pop(node, None)
            return
        if node in self._doubted:
            self._ended(EndNotice(node=node, reason=UNSURE))
            return
        now = self._clock()
        if now >= self._over.setdefault(node, now) + GRACE:
            self._ended(EndNotice(node=node, reason=LOST))

    def _noticed(self, end: EndNotice) -> None:
        missed = self._failures or self._rechecks or self._clock() < self._succeeding
        if end.reason == NO_RECORD and missed:
            # After an outage, or from a session that died, that is all one hears of a
            # node that has just ended. Of one that runs, too, if it was submitted to
            # the new master within half a minute: then libdrmaa learns that it is
            # another (seen with 8.1.9).
            if end.node in self._live:
                self._doubted[end.node] = self._silent[end.node] = None
            return
        self._ended(end)

    def _ended(self, end: EndNotice) -> None:
        node = end.node
        if node not in self._live:
            return  # reported already, or never ours
        del self._live[node]
        self._over.pop(node, None)
        self._doubted.pop(node, None)
        if node in self._doomed:
            self._doomed.discard(node)
            end = replace(
                end, cancelled=True, reason="", deleted=False, unstarted=False
            )
        else:
            self._wanted[node.job] -= 1
        self._on_end(end)
