"""Dask's Scheduler, which blames a task only for deaths that it may have caused."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Protocol

from distributed.protocol.pickle import dumps, loads
from distributed.scheduler import KilledWorker, TaskState, WorkerState

from dask_gridengine.scheduler.exception_notes import annotate
from dask_gridengine.scheduler.walltime_aware import WalltimeAwareScheduler

logger = logging.getLogger(__name__)

#: Tasks that were running where a worker died; the oldest are forgotten first.
MOST_SUSPECTS = 10_000
#: Seconds for which a verdict waits for the cause of a death. A Nanny tells within
#: milliseconds, Grid Engine 1 to 2 s after the end of a job (measured).
PATIENCE = 5.0
LOOK_AGAIN = 0.05


class FailureInfo(Protocol):
    """Who hears what the scheduler sees of workers, and knows why they died."""

    def missing(self, name: str, *, expected: bool) -> None:
        """The scheduler has no worker of that name any more."""
        ...

    def worker_exit(self, name: str, event: dict[str, Any]) -> None:
        """A Nanny says that its worker has died, and that it starts another."""
        ...

    def ours(self, name: Any) -> bool:
        """Whether a worker of that name is one of the cluster's nodes."""
        ...

    def deaths(self, names: Sequence[str]) -> str:
        """Why the workers of these names died, for people."""
        ...

    def evidence(self, names: Sequence[str]) -> Evidence:
        """Which deaths of these workers are nobody's fault, as far as is known yet."""
        ...

    def heard(self, name: str) -> None:
        """A worker of a suspended node has sent a heartbeat: the node is resumed."""
        ...


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known of the deaths of some workers.

    Attributes
    ----------
    blameless
        Workers that no task has ended.
    pending
        Whether the cause of another's death is yet to be heard.
    """

    blameless: Collection[str] = ()
    pending: bool = False


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A task that waits for its verdict, and the worker that died last with it."""

    last: WorkerState
    until: float


class FairScheduler(WalltimeAwareScheduler):
    """Holds a task that has lost too many workers until it is known why they died.

    Dask counts the workers that die while they have a task, and gives the task up when
    they are more than ``allowed_failures``. Where somebody deletes a hundred jobs at
    once, or a node with eight workers ends, a task falls from one dying worker to the
    next within milliseconds, and would be given up for what it has not done. The causes
    are known a moment later; until then it is held, rather than tried on yet another
    worker: if it does kill them, they would all be gone by then.

    Attributes
    ----------
    witness
        Who knows why workers died; without one it is Dask's scheduler.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.failure_info: FailureInfo | None = None
        self._suspects: OrderedDict[Any, list[str]] = OrderedDict()
        self._removing: WorkerState | None = None
        self._held: dict[Any, _Held] = {}
        self._judging = False

    def suspects_of(self, key: Any) -> list[str]:
        """Names of the workers that died while they ran this task."""
        return self._suspects.get(key, [])

    async def remove_worker(
        self, address: str, *, stimulus_id: str, expected: bool = False, **how: Any
    ) -> Any:
        """As Dask's; it says so, and remembers whose tasks were running there."""
        ws = self.workers.get(self.coerce_address(address))
        if ws is None or self.failure_info is None:
            return await super().remove_worker(
                address, stimulus_id=stimulus_id, expected=expected, **how
            )
        self.failure_info.missing(ws.name, expected=expected)
        if not expected:
            self._suspect(ws)
        # Tasks are given up before Dask's method first waits for something, so no
        # other worker's removal comes between.
        self._removing = ws
        removal = super().remove_worker(
            address, stimulus_id=stimulus_id, expected=expected, **how
        )
        try:
            return await removal
        finally:
            if self._removing is ws:
                self._removing = None

    def transition(
        self, key: Any, finish: Any, stimulus_id: str, **kwargs: Any
    ) -> dict[Any, Any]:
        """As Dask's; a `KilledWorker` gets a note on what killed the workers."""
        if finish == "erred" and self._removing is not None:
            exception = loads(kwargs["exception"]) if "exception" in kwargs else None
            if isinstance(exception, KilledWorker):
                self._annotate(exception, key)
                kwargs["exception"] = dumps(exception)
        recommendations: dict[Any, Any] = super().transition(
            key, finish, stimulus_id, **kwargs
        )
        return recommendations

    def is_rootish(self, ts: TaskState) -> bool:
        """As Dask's; what is held goes the other way, where it can be held."""
        return ts.key not in self._held and super().is_rootish(ts)

    def decide_worker_non_rootish(self, ts: TaskState) -> WorkerState | None:
        """As Dask's; None for what is held."""
        if ts.key in self._held:
            return None
        ws: WorkerState | None = super().decide_worker_non_rootish(ts)
        return ws

    def fail(self, tasks: Collection[TaskState], error: Exception) -> None:
        """Give this error to tasks that wait or run; none of them is tried again."""
        if not tasks:
            return
        stimulus_id = f"{type(error).__name__}-{time()}"
        pickled = dumps(error)
        recommendations: dict[Any, Any] = {}
        for ts in tasks:
            recommendations.update(
                self.transition(
                    ts.key,
                    "erred",
                    stimulus_id,
                    exception=pickled,
                    cause=ts.key,
                )
            )
        self.transitions(recommendations, stimulus_id=stimulus_id)

    def _suspect(self, ws: WorkerState) -> None:
        last: WorkerState | None = None
        for ts in ws.processing:
            self._suspects.setdefault(ts.key, []).append(ws.name)
            self._suspects.move_to_end(ts.key)
            if ts.suspicious < self.allowed_failures or ts.actor:
                continue
            if self._acquit(ts) and ts.suspicious >= self.allowed_failures:
                # Dask adds this death in a moment; `_judge` does, if it counts.
                ts.suspicious -= 1
                last = last or ws.clean()
                self._held[ts.key] = _Held(last=last, until=monotonic() + PATIENCE)
        while len(self._suspects) > MOST_SUSPECTS:
            self._suspects.popitem(last=False)
        background = self._ongoing_background_tasks
        if self._held and not self._judging and not background.closed:
            self._judging = True
            background.call_soon(self._judge_all)

    def _acquit(self, ts: TaskState) -> bool:
        """Take back what it is not to blame for; whether more is yet to be heard."""
        assert self.failure_info is not None
        names = self._suspects.get(ts.key, [])
        found = self.failure_info.evidence(names)
        for name in found.blameless:
            names.remove(name)
        ts.suspicious -= len(found.blameless)
        return found.pending

    async def _judge_all(self) -> None:
        try:
            while self._held:
                await asyncio.sleep(LOOK_AGAIN)
                for key, held in list(self._held.items()):
                    self._judge(key, held)
        finally:
            self._judging = False

    def _judge(self, key: Any, held: _Held) -> None:
        ts = self.tasks.get(key)
        if ts is None or ts.state not in ("released", "waiting", "no-worker"):
            del self._held[key]  # cancelled, or given up for another reason
            return
        pending = self._acquit(ts)
        guilty = ts.suspicious + 1 > self.allowed_failures
        waits = ts.state != "no-worker"  # its dependencies died with it, and come first
        if guilty and (waits or (pending and monotonic() < held.until)):
            return
        del self._held[key]
        ts.suspicious += 1
        if guilty:
            # Where one death is an error, the caller handles each of them: gridengine
            # finds the item that caused it, and raises an error for that alone.
            logger.log(
                logging.ERROR if self.allowed_failures else logging.DEBUG,
                "task %s is given up: %d workers died while they had it",
                key,
                ts.suspicious,
            )
            error = KilledWorker(key, held.last, self.allowed_failures)
            self._annotate(error, key)
            self.fail([ts], error)
        elif ts.state == "no-worker":
            self.transitions({key: "processing"}, stimulus_id=f"acquitted-{time()}")

    def _annotate(self, error: KilledWorker, key: Any) -> None:
        if self.failure_info is not None:
            annotate(error, self.failure_info.deaths(self._suspects.get(key, [])))
