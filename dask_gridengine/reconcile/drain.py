"""Letting workers go so that nothing is lost: tasks end, data moves, workers close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable
from time import time

from distributed import Scheduler
from distributed.core import Status
from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.nodes.fleet import GENTLE_SECONDS, Fleet
from dask_gridengine.nodes.registry import NodeState

logger = logging.getLogger(__name__)

LOOK_AGAIN = 0.05  # seconds between looks at who is still at work
NAMED = 5  # tasks in a line of the log; the others are counted
ROUND = 0.25  # seconds at most that one who is done waits for others: one move for all


async def release(
    fleet: Fleet,
    scheduler: Scheduler,
    names: Collection[str],
    *,
    timeout: float,
    keep_places: bool,
) -> None:
    """Give up names: their queue places, or their workers with the data moved.

    Parameters
    ----------
    names
        Of nodes that are not wanted any more, wherever they are.
    timeout
        Seconds for running tasks.
    keep_places
        See `Fleet.withdraw`.
    """
    fleet.mark_cancelled(names)
    await fleet.withdraw(names, keep_places=keep_places)
    # A suspended node can neither finish tasks nor hand data over.
    suspended = list(fleet.registry.suspended.values())
    await fleet.cancel([record for record in suspended if record.worker in names])
    left = await retire(scheduler, names, timeout=timeout)
    if left:
        logger.warning(
            "what only %s held is lost: no other worker could take it", ", ".join(left)
        )
    await _cancel(fleet, names, NodeState.IMPORTING)
    await _cancel(fleet, nodes_of(left), NodeState.WORKING)
    # A task that has outlived its time may keep its worker from closing.
    await asyncio.sleep(GENTLE_SECONDS)
    await _cancel(fleet, names, NodeState.WORKING)


async def _cancel(fleet: Fleet, names: Collection[str], state: NodeState) -> None:
    records = fleet.registry.by_worker
    nodes = [records[name] for name in names if name in records]
    await fleet.cancel([node for node in nodes if node.state is state])


async def retire(
    scheduler: Scheduler, names: Collection[str], *, timeout: float
) -> list[str]:
    """Let these workers go: no new task, the running ones finished, the data moved.

    What they have been sent but have not begun is run by others. Workers of these
    nodes that register meanwhile go the same way.

    Dask's own ``retire_workers`` does not wait for what runs; it would be run again
    elsewhere, from its beginning.

    Parameters
    ----------
    scheduler
        Theirs.
    names
        Of their nodes; who is not there, and does not come meanwhile, is passed over.
    timeout
        Seconds for running tasks. What runs longer is run again elsewhere.

    Returns
    -------
    list
        Names of workers whose data nobody else could take: they are still there.
    """
    leaving: dict[str, WorkerState] = {}
    wanted = set(names)
    known: set[str] = set()  # addresses; a name may come again, by its Nanny
    moves: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    began = loop.time()
    while True:
        leaving.update(_pause_workers(scheduler, wanted, known))
        done = [name for name, ws in leaving.items() if not ws.processing]
        if loop.time() >= deadline:
            _log_overdue([ws for ws in leaving.values() if ws.processing], timeout)
            done = list(leaving)
        everybody = len(done) == len(leaving)
        if done and (everybody or loop.time() - began >= ROUND):
            for name in done:
                del leaving[name]
            moves.append(asyncio.create_task(_move(scheduler, done)))
            began = loop.time()
        if leaving:
            await asyncio.sleep(LOOK_AGAIN)
        elif not all(move.done() for move in moves):
            await asyncio.wait(moves, timeout=LOOK_AGAIN)
        else:
            break  # nobody came while the last ones went
        leaving = {
            name: ws
            for name, ws in leaving.items()
            if scheduler.workers.get(ws.address) is ws
        }
        for ws in leaving.values():
            if ws.status is Status.running:  # it had been paused for its memory, too
                _pause(scheduler, ws)
    await asyncio.gather(*moves)
    return [ws.name for ws in _workers(scheduler, names) if ws.address in known]


def _pause_workers(
    scheduler: Scheduler, wanted: Collection[str], known: set[str]
) -> dict[str, WorkerState]:
    """Give the workers of these nodes that are not known yet no new task."""
    # Of ten thousand workers only those are looked at that have come since.
    fresh = dict.keys(scheduler.workers) - known
    known |= fresh
    came = (scheduler.workers[address] for address in fresh)
    new = {ws.name: ws for ws in came if node_of(ws.name) in wanted}
    for ws in new.values():
        _pause(scheduler, ws)
    hand_over(scheduler, new.values())
    return new


def _pause(scheduler: Scheduler, ws: WorkerState) -> None:
    # As if it were paused: whoever is told no more than that gets no new task.
    scheduler.handle_worker_status_change(Status.paused, ws, f"scale-down-{time()}")


def _log_overdue(busy: list[WorkerState], timeout: float) -> None:
    if busy:
        logger.warning(
            "tasks of %s still ran after %g s; they run again elsewhere: %s",
            ", ".join(ws.name for ws in busy),
            timeout,
            _some([ts for ws in busy for ts in ws.processing]),
        )


def _some(tasks: list[TaskState]) -> str:
    """Their keys, of the first few."""
    more = f" and {len(tasks) - NAMED} more" if len(tasks) > NAMED else ""
    return ", ".join(repr(ts.key) for ts in tasks[:NAMED]) + more


def hand_over(
    scheduler: Scheduler,
    leaving: Iterable[WorkerState],
    tasks: Collection[TaskState] | None = None,
) -> None:
    """Have others run what these have been sent but have not begun.

    By the way of Dask's work stealing: the worker itself says whether it has begun.

    Parameters
    ----------
    scheduler
        Theirs.
    leaving
        Workers that will be gone.
    tasks
        Those that shall go; None is all.
    """
    stealing = scheduler.extensions.get("stealing")
    if stealing is None:
        return
    load = {ws: len(ws.processing) / ws.nthreads for ws in scheduler.running}
    for ws in leaving:
        for ts in list(ws.processing if tasks is None else tasks):
            valid = scheduler.valid_workers(ts)
            takers = load.keys() if valid is None else load.keys() & valid
            if not takers and ts.loose_restrictions:
                takers = load.keys()
            if takers:
                taker = min(takers, key=load.__getitem__)
                load[taker] += 1 / taker.nthreads
                stealing.move_task_request(ts, ws, taker)


async def _move(scheduler: Scheduler, names: list[str]) -> None:
    # By name: SpecCluster passes names for addresses, and retires nobody.
    await scheduler.retire_workers(names=names, close_workers=True, remove=True)


def _workers(scheduler: Scheduler, names: Collection[str]) -> list[WorkerState]:
    wanted = set(names)
    return [ws for ws in scheduler.workers.values() if node_of(ws.name) in wanted]
