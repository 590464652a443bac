"""Why tasks wait although nodes work: workers are paused, or those named are gone.

Dask says the one in the log of the worker, and the other nowhere. What waits at a
paused worker is run by others, if there are any.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import dask
from dask.utils import format_bytes
from distributed import Scheduler
from distributed.core import Status
from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.clock import steady_time
from dask_gridengine.exit_causes import NONE_REQUESTED
from dask_gridengine.formatting import format_duration
from dask_gridengine.naming import node_of
from dask_gridengine.nodes.fleet import Fleet
from dask_gridengine.nodes.memory_option import (
    in_memory_option,
    larger_worker,
    more_memory,
)
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.options import Options
from dask_gridengine.reconcile.drain import hand_over
from dask_gridengine.scheduler.throttled_callback import ThrottledCallback

logger = logging.getLogger(__name__)

#: Seconds until the log has it, and adaptive scaling counts without that worker: one
#: that spills is paused for some, which is well.
WARN_AFTER = 10.0
STEAL_AFTER = 2.0  # seconds until others run what waits there; a script may yet scale
NAMED = 3  # workers, or addresses; the others are counted


class Waiting:
    """Looks for workers that start no task, and for tasks that may run nowhere.

    Parameters
    ----------
    scheduler
        Knows both.
    fleets
        Of all nodes: a worker that is let go is no news.
    note
        Tells people, in the cluster's log.
    hints
        What to type where no nodes are requested; nothing where some are.
    clock
        Seconds, of any clock that only goes forward; tests give their own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        fleets: Sequence[Fleet],
        note: Callable[[str], None],
        *,
        hints: Callable[[], Sequence[str]] = tuple,
        clock: Callable[[], float] = steady_time,
    ) -> None:
        self._scheduler, self._fleets, self._note = scheduler, fleets, note
        self._hints, self._clock = hints, clock
        #: Workers that are paused, by address, and places that tasks wait for.
        self._since: dict[object, float] = {}
        self._noted: set[object] = set()
        self.paused = 0  # workers at present
        #: Workers paused for so long, while work waits, by the pool of their node.
        self.lasting: Counter[str] = Counter()
        self.said: list[str] = []  # what keeps tasks waiting at present
        self._glances = ThrottledCallback(self.look)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._glances.start()

    def stop(self) -> None:
        """Look no more, and say nothing. Idempotent."""
        self._glances.stop()
        self.paused, self.said = 0, []
        self.lasting.clear()

    def look(self) -> None:
        """Look once."""
        paused, stranded = self._paused(), self._stranded()
        now = self._clock()
        waits = self._work_waits(paused)
        hints = self._hints() if waits else ()
        present = [*(ws.address for ws in paused), *stranded]
        present += [NONE_REQUESTED] if hints else []
        self._since = {what: self._since.get(what, now) for what in present}
        self.paused = len(paused)
        self._relieve(paused, now)
        lasting = [ws for ws in paused if self._lasts(ws.address, now)]
        self.lasting = Counter(map(self._pool, lasting if waits else ()))
        said: dict[object, str] = {}
        if paused:
            said["paused"] = self._of_paused(paused, now)
        for names, tasks in stranded.items():
            said[names] = _of_stranded(names, tasks)
        self.said = list(said.values())
        told: set[object] = {names for names in stranded if self._lasts(names, now)}
        if self.lasting:
            told.add("paused")
        if hints and now - self._since[NONE_REQUESTED] >= STEAL_AFTER:
            # Not in `said`: `explain` has it also where no task waits.
            said[NONE_REQUESTED] = f"tasks wait, {NONE_REQUESTED}. {' '.join(hints)}"
            told.add(NONE_REQUESTED)
        self._tell(said, told)

    def _lasts(self, what: object, now: float) -> bool:
        return now - self._since[what] >= WARN_AFTER

    def _tell(self, said: dict[object, str], what: set[object]) -> None:
        """In the log, once for as long as it is so."""
        self._noted &= said.keys()
        for new in what - self._noted:
            self._note(said[new])
            logger.warning("%s", said[new])
        self._noted |= what

    def _relieve(self, paused: list[WorkerState], now: float) -> None:
        """Have others run what waits at these.

        Dask steals only from who has more tasks than threads, so the last one stays.
        """
        for ws in paused:
            late = now - self._since[ws.address] >= STEAL_AFTER
            if late and (tasks := set(ws.processing) - set(ws.executing)):
                hand_over(self._scheduler, [ws], tasks)

    def about(self, node: str) -> list[str]:
        """What is to be said of the workers of one node; safe in any thread."""
        now = self._clock()
        return [
            f"paused, it starts no task: {self._of_one(ws, now)}.\n  {_rule()}"
            for ws in self._paused()
            if node_of(ws.name) == node
        ]

    def _paused(self) -> list[WorkerState]:
        """Workers that are paused, and not because they are let go: fullest first."""
        scheduler = self._scheduler
        if len(scheduler.running) == len(scheduler.workers):
            return []  # of ten thousand workers none is looked at
        found = [
            ws
            for ws in list(dict.values(scheduler.workers))  # see `running_workers`
            if ws.status is Status.paused and not self._leaves(ws)
        ]
        return sorted(found, key=_fullness, reverse=True)

    def _leaves(self, ws: WorkerState) -> bool:
        _, record = self._home(ws)
        if record is None:
            return False  # somebody's own worker
        return record.cancelled or record.shown is not NodeState.WORKING

    def _home(self, ws: WorkerState) -> tuple[Fleet | None, NodeRecord | None]:
        """Whose worker it is."""
        for fleet in self._fleets:
            if record := fleet.registry.bearing(ws.name):
                return fleet, record
        return None, None

    def _pool(self, ws: WorkerState) -> str:
        fleet, _ = self._home(ws)
        return fleet.pool if fleet else ""

    def _work_waits(self, paused: list[WorkerState]) -> bool:
        """Whether more could run if these did; what runs already is no reason."""
        scheduler = self._scheduler
        return bool(scheduler.unrunnable or scheduler.queued) or any(
            len(ws.processing) > len(ws.executing) for ws in paused
        )

    def _stranded(self) -> dict[frozenset[str], list[TaskState]]:
        """Tasks that may only run where nobody is, by the places they may run at."""
        found: dict[frozenset[str], list[TaskState]] = defaultdict(list)
        for ts in self._scheduler.unrunnable:
            workers, hosts = ts.worker_restrictions or (), ts.host_restrictions or ()
            bound = (workers or hosts) and not ts.loose_restrictions
            if bound and not self._anybody(workers, hosts):
                found[frozenset(map(str, (*workers, *hosts)))].append(ts)
        return found

    def _anybody(self, workers: Sequence[str], hosts: Sequence[str]) -> bool:
        scheduler = self._scheduler
        return any(address in scheduler.workers for address in workers) or any(
            scheduler.coerce_hostname(host) in scheduler.host_info for host in hosts
        )

    def _of_paused(self, paused: list[WorkerState], now: float) -> str:
        one = len(paused) == 1
        told = "; ".join(self._of_one(ws, now) for ws in paused[:NAMED])
        more = f"; and {len(paused) - NAMED} more" if len(paused) > NAMED else ""
        count = "1 worker is" if one else f"{len(paused)} workers are"
        fleet, record = self._home(paused[0])
        granted = record.granted_memory if record else 0
        options = fleet.options if fleet else None
        return (
            f"{count} paused and start{'s' if one else ''} no task: {told}{more}.\n"
            f"  {_rule()}\n  {_advice(paused[0], options, granted)}"
        )

    def _of_one(self, ws: WorkerState, now: float) -> str:
        _, record = self._home(ws)
        where = f" on {record.host}" if record and record.host else ""
        limit = f" of {format_bytes(ws.memory_limit)}" if ws.memory_limit else ""
        has = len(ws.processing)
        paused = format_duration(now - self._since.get(ws.address, now))
        tasks = f", {has} task{'' if has == 1 else 's'} there" if has else ""
        return (
            f"{ws.name}{where} for {paused},"
            f" with {format_bytes(ws.memory.process)}{limit} in use,"
            f" {format_bytes(ws.memory.managed)} of that results{tasks}"
        )


def _fullness(ws: WorkerState) -> float:
    return float(ws.memory.process / ws.memory_limit) if ws.memory_limit else 0.0


def _rule() -> str:
    """Dask's, of when a worker is paused and when it is started anew."""
    memory = dask.config.get("distributed.worker.memory")
    pause, terminate = memory.get("pause"), memory.get("terminate")
    anew = f"above {percent(terminate)} its Nanny starts it anew" if terminate else ""
    if not pause:
        return "Its status at Dask's scheduler says so."
    below = f", and {anew}" if anew else ""
    return (
        f"Dask pauses a worker above {percent(pause)} of its memory"
        f" (distributed.worker.memory.pause) until it has less{below}."
    )


def _advice(ws: WorkerState, options: Options | None, granted: int) -> str:
    """What helps, by what the memory is used for."""
    if ws.memory.managed > ws.memory.process / 2:
        first = "Let go of futures that you need no more"
    else:
        first = (
            "The rest is held by tasks, or by Python:"
            f" client.restart_workers([{ws.name!r}]) frees it, and results that only"
            " this worker has are computed again"
        )
    if not ws.memory_limit:
        return f"{first}."
    size = more_memory(ws.memory.process, ws.memory_limit)
    if options is None:
        more = in_memory_option(size)
    else:
        whole = size * options.processes
        more = larger_worker(options, ws.memory_limit, granted, whole)
    return f"{first}. New nodes have more with {more}."


def percent(share: float) -> str:
    """As people read it.

    Examples
    --------
    >>> percent(0.8), percent(0.975)
    ('80 %', '97.5 %')
    """
    return f"{share * 100:g} %"


def _of_stranded(names: frozenset[str], tasks: list[TaskState]) -> str:
    listed = ", ".join(sorted(names)[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    count = "1 task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"
    return (
        f"{count} for workers that are not there, e.g. {tasks[0].key!r}: no other than"
        f" {listed}{more} may run it (workers=). Submit it without that, or with"
        " allow_other_workers=True."
    )
