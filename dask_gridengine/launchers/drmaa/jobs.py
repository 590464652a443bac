"""The live jobs of the DRMAA child, and the deletions and checks that are due."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import NamedTuple

from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import EndCallback, EndNotice, NodeId
from dask_gridengine.launchers.drmaa.library import (
    ALL_JOBS,
    NO_RECORD,
    CallFailed,
    Library,
    State,
    Unreachable,
)
from dask_gridengine.launchers.messages import from_ranges, to_ranges

TIME_SLICE = 0.05  # seconds of deletions and checks between two polls of everything
HEARTBEAT = 5.0  # seconds between checks of one node, each node in turn
NOTICE_DELAY = 10.0  # seconds an end notice may come after the state it belongs to
RETRY_INTERVAL = 2.0  # seconds between tries while the master does not answer
#: At least this many neighbouring nodes are deleted by one command, where the grid has
#: one. Grid Engine's takes 50 to 90 ms for 200 or for 2,000 nodes, DRMAA 0.75 to 1 ms
#: for each node (measured on 8.1.9).
RANGE_SIZE = 64

# Seconds after an outage at which every node is checked. A restarted master shows what
# ended meanwhile as running for ten minutes: the execution daemons delay their reports
# (measured on Son of Grid Engine 8.1.9).
RECHECK_DELAYS = (0.0, 60.0, 660.0)

# Seconds after which an unacknowledged submission is searched: it may be queued late.
SEARCH_DELAYS = (0.0, 60.0)

EXIT_UNKNOWN = (
    "job ended, exit status unknown (can happen after the grid's master was restarted)"
)
UNCONFIRMED = (
    "the grid has no record of how it ended: it ended while the grid's master or our"
    " session with it was away, or it was deleted before it started"
)


#: Job, first and last index of neighbouring nodes that one command deletes.
_TaskRange = tuple[str, int, int]


class _Search(NamedTuple):
    """A search for an array whose submission got no answer."""

    due: float
    name: str
    submission_id: str


class Jobs:
    """The live nodes of one DRMAA session; `run_once` does what is due.

    Nothing here waits, except for the grid's answers.
    """

    def __init__(
        self,
        library: Library,
        *,
        on_end: EndCallback,
        on_note: Callable[[str], None],
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._library, self._clock = library, clock
        self._on_end, self._on_note = on_end, on_note
        self._live: dict[NodeId, None] = {}
        self._cancelled: set[NodeId] = set()
        self._num_kept: Counter[str] = Counter()  # live nodes not cancelled, by job
        #: Ids of jobs or nodes, ALL_JOBS, or ranges of nodes.
        self._deletions: deque[str | _TaskRange] = deque()
        # Ordered sets. A plain dict is slow to pop from the front many times.
        self._urgent_checks: OrderedDict[NodeId, None] = OrderedDict()
        self._checks: OrderedDict[NodeId, None] = OrderedDict()
        self._heartbeat_round: Iterator[NodeId] = iter(())
        #: Since when the grid says that a node is gone; its notice may still come.
        self._gone: dict[NodeId, float] = {}
        #: Nodes whose only notice came in an outage and may be wrong.
        self._unconfirmed: dict[NodeId, None] = {}
        self._rechecks: deque[float] = deque()
        #: Until then notices may belong to the time of the child that died.
        self._taking_over_until = float("-inf")
        self._searches: list[_Search] = []
        self._next_heartbeat = 0.0
        self._failures = 0  # consecutive calls that failed
        self._retry_at = 0.0

    @property
    def num_live(self) -> int:
        """How many nodes have not ended as far as known."""
        return len(self._live)

    @property
    def undeleted(self) -> int:
        """How many deletions and searches the master has not answered yet."""
        return len(self._deletions) + len(self._searches)

    @property
    def busy(self) -> bool:
        """Whether there is something to do at once."""
        return not self._failures and bool(
            self._deletions or self._urgent_checks or self._checks
        )

    def add(self, nodes: Collection[NodeId]) -> None:
        """Add nodes that were just queued."""
        new = [node for node in nodes if node not in self._live]
        self._live.update(dict.fromkeys(new))
        self._num_kept.update(node.job for node in new)
        self.call_succeeded()

    def take_over(self, nodes: Collection[NodeId]) -> None:
        """Add the nodes of a child that died; some may have ended since."""
        self._library.take_over([node for node in nodes if node not in self._live])
        self.add(nodes)
        self.recheck_all()
        self._taking_over_until = self._clock() + NOTICE_DELAY

    def recheck_all(self) -> None:
        """Check every node: a notice may be lost."""
        self._checks = OrderedDict.fromkeys(self._live)

    def recheck(self, nodes: Collection[NodeId]) -> None:
        """Check these nodes before all others."""
        if self._failures:
            return  # after the outage every node is checked anyway
        self._urgent_checks.update((node, None) for node in nodes if node in self._live)

    def delete(self, nodes: Collection[NodeId]) -> None:
        """Delete these nodes: by the id of their job if no other node of it is kept."""
        live = [node for node in nodes if node in self._live]
        for node in live:
            if node not in self._cancelled:
                self._cancelled.add(node)
                self._num_kept[node.job] -= 1
        whole_jobs = {node.job: None for node in live if not self._num_kept[node.job]}
        self._deletions.extend(whole_jobs)
        ranges = to_ranges(node for node in live if node.job not in whole_jobs)
        for job, runs in ranges.items():
            for first, last in runs:
                if last - first + 1 >= RANGE_SIZE:
                    self._deletions.append((job, first, last))
                else:
                    self._deletions.extend(self._ids_of(job, first, last))

    def delete_all(self) -> None:
        """Delete every job of the session, also jobs whose ids were never received."""
        self._cancelled.update(self._live)
        self._num_kept.clear()
        jobs = {node.job: None for node in self._live}
        all_jobs = [ALL_JOBS] if self._library.batch_system.deletes_session else []
        self._deletions = deque([*jobs, *all_jobs])
        self._searches = sorted({each._replace(due=0.0) for each in self._searches})

    def delete_unacknowledged(self, name: str, submission_id: str) -> None:
        """Find and delete what a submission without an answer queues, now or later."""
        if submission_id:
            now = self._clock()
            self._searches += [
                _Search(now + delay, name, submission_id) for delay in SEARCH_DELAYS
            ]

    def run_once(self) -> None:
        """Report what has ended; then delete and check nodes for one time slice."""
        try:
            while (end := self._library.next_end()) is not None:
                self._on_notice(end)
            if not self._failures or self._clock() >= self._retry_at:
                self._do_due_calls()
        except (Unreachable, CallFailed) as exc:
            self.call_failed(str(exc))

    def call_failed(self, text: str) -> None:
        """Record that a call failed, which says nothing about any node."""
        self._retry_at = self._clock() + RETRY_INTERVAL
        self._failures += 1
        if self._failures == 2:  # one failed call is not worth a warning
            title = self._library.batch_system.title
            self._on_note(f"{title} does not answer, running nodes go on: {text}")

    def call_succeeded(self) -> None:
        """Record that a call succeeded."""
        if self._failures:
            if self._failures > 1:
                self._on_note(f"{self._library.batch_system.title} answers again")
            self._failures = 0
            now = self._clock()
            self._rechecks = deque(now + delay for delay in RECHECK_DELAYS)

    def _ids_of(self, job: str, first: int, last: int) -> list[str]:
        nodes = from_ranges({job: [[first, last]]})
        return [self._library.batch_system.format_job_id(node) for node in nodes]

    def _do_due_calls(self) -> None:
        now = self._clock()
        self._schedule_checks(now)
        for search in [each for each in self._searches if each.due <= now]:
            if search in self._searches:  # the one before may have ended all of them
                self._search(search)
            self.call_succeeded()
        while self._deletions and self._clock() < now + TIME_SLICE:
            self._delete_next()
            self.call_succeeded()
        while (checks := self._urgent_checks or self._checks) and (
            self._clock() < now + TIME_SLICE
        ):
            self._check(checks.popitem(last=False)[0])
            self.call_succeeded()

    def _schedule_checks(self, now: float) -> None:
        if self._rechecks and now >= self._rechecks[0]:
            self._rechecks.popleft()
            self.recheck_all()
        if self._live and now >= self._next_heartbeat:
            # Without this check an outage goes unnoticed, as `next_end` only returns
            # nothing. One node at a time costs the same for any number of nodes.
            self._next_heartbeat = now + HEARTBEAT
            self._checks[self._next_of_round()] = None
            self._checks.update(self._unconfirmed)
        for node, since in self._gone.items():
            if now >= since + NOTICE_DELAY:
                self._checks[node] = None

    def _next_of_round(self) -> NodeId:
        # Skips nodes that have ended since the round began: without a call an outage
        # would not be noticed either.
        for node in self._heartbeat_round:
            if node in self._live:
                return node
        self._heartbeat_round = iter(list(self._live))
        return next(self._heartbeat_round)

    def _search(self, search: _Search) -> None:
        name = search.name
        try:
            found = self._library.find_submission(name, search.submission_id)
            self._deletions.extend(found)
        except CallFailed as exc:  # no qstat: it will not be there next time either
            self._on_note(f"job {name!r} may be in the queue without a cluster: {exc}")
            self._searches = [each for each in self._searches if each[1:] != search[1:]]
        else:
            self._searches.remove(search)

    def _delete_next(self) -> None:
        job_id = self._deletions[0]
        if isinstance(job_id, tuple):
            self._deletions.popleft()
            if not self._library.delete_range(*job_id):
                self._deletions.extendleft(reversed(self._ids_of(*job_id)))
            return
        try:
            self._library.delete(job_id)
        except (CallFailed, Unreachable) as exc:
            # On an unknown grid each failure may be an outage, or concern this job.
            unknown = "" in self._library.batch_system.unreachable_messages
            if isinstance(exc, CallFailed) or unknown:
                self._deletions.rotate(-1)  # the others do not wait for this one
            raise
        self._deletions.popleft()

    def _check(self, node: NodeId) -> None:
        if node not in self._live:
            return
        if self._library.state(node) is State.LIVE:
            self._gone.pop(node, None)
            return
        if node in self._unconfirmed:
            self._report(EndNotice(node=node, reason=UNCONFIRMED))
            return
        now = self._clock()
        if now >= self._gone.setdefault(node, now) + NOTICE_DELAY:
            self._report(EndNotice(node=node, reason=EXIT_UNKNOWN))

    def _on_notice(self, end: EndNotice) -> None:
        taking_over = self._clock() < self._taking_over_until
        if end.reason == NO_RECORD and (
            self._failures or self._rechecks or taking_over
        ):
            # After an outage, or after a child that died, this is the only notice of a
            # node that has just ended. It also comes for a running node that was
            # submitted to the new master within half a minute, when libdrmaa notices
            # that the master has changed (seen with 8.1.9). So check the node.
            if end.node in self._live:
                self._unconfirmed[end.node] = self._urgent_checks[end.node] = None
            return
        self._report(end)

    def _report(self, end: EndNotice) -> None:
        node = end.node
        if node not in self._live:
            return  # reported already, or of another cluster
        del self._live[node]
        self._gone.pop(node, None)
        self._unconfirmed.pop(node, None)
        if node in self._cancelled:
            self._cancelled.discard(node)
            end = replace(
                end, cancelled=True, reason="", deleted=False, unstarted=False
            )
        else:
            self._num_kept[node.job] -= 1
        self._on_end(end)
