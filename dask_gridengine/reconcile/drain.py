"""Drain workers so that nothing is lost: tasks end, data moves, workers close."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from time import time
from typing import TYPE_CHECKING, Any

from distributed import Scheduler
from distributed.core import Status
from distributed.scheduler import TaskState, WorkerState

from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.scheduler.log_filters import suppress_close_messages

if TYPE_CHECKING:
    from dask_gridengine.cluster.pool import NodePool

logger = logging.getLogger(__name__)

GENTLE_SECONDS = 3.0  # for workers to close by themselves before their nodes are killed
CHECK_EVERY = 0.05  # seconds between checks for workers that have no more tasks
TASKS_NAMED = 5  # in a line of the log; the others are counted
ROUND = 0.25  # seconds that a worker waits for others, so that their data moves at once
DRAIN_CHECK_EVERY = 0.1  # seconds, while the whole cluster drains
LEAVING_SECONDS = 5.0  # for workers to leave the scheduler before it closes


async def release(pool: NodePool, names: Collection[str]) -> None:
    """Stop the nodes of these names, whatever their state."""
    # A suspended node can neither finish tasks nor hand data over.
    suspended = list(pool.registry.suspended.values())
    await pool.cancel([record for record in suspended if record.worker in names])
    timeout = pool.options.finish_timeout
    left = await retire(pool.cluster.scheduler, names, timeout=timeout)
    if left:
        logger.warning(
            "Lost data that only %s held: no other worker could store it",
            ", ".join(left),
        )
    await _cancel(pool, names, NodeState.IMPORTING)
    await _cancel(pool, nodes_of(left), NodeState.WORKING)
    # A task that outlives the timeout may keep its worker from closing.
    await asyncio.sleep(GENTLE_SECONDS)
    await _cancel(pool, names, NodeState.WORKING)


async def _cancel(pool: NodePool, names: Collection[str], state: NodeState) -> None:
    records = pool.registry.by_worker
    nodes = [records[name] for name in names if name in records]
    await pool.cancel([node for node in nodes if node.state is state])


async def retire(
    scheduler: Scheduler, names: Collection[str], *, timeout: float
) -> list[str]:
    """Finish the running tasks of these nodes' workers, move their data, close them.

    They get no new task, and others run the tasks that they have not begun. Workers of
    these nodes that register meanwhile are retired as well. Tasks that run for longer
    than `timeout` seconds run again elsewhere. Returns the names of workers that are
    still there because no other worker could store their data.

    Dask's own ``retire_workers`` does not wait for running tasks: they would run again
    elsewhere, from their beginning.
    """
    leaving: dict[str, WorkerState] = {}
    wanted = set(names)
    known: set[str] = set()  # addresses; a Nanny may start a worker of the same name
    moves: list[asyncio.Future[Any]] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    began = loop.time()
    while True:
        leaving.update(_pause_workers(scheduler, wanted, known))
        done = [name for name, ws in leaving.items() if not ws.processing]
        if loop.time() >= deadline:
            _log_overdue([ws for ws in leaving.values() if ws.processing], timeout)
            done = list(leaving)
        if done and (len(done) == len(leaving) or loop.time() - began >= ROUND):
            for name in done:
                del leaving[name]
            # By name: SpecCluster passes names as addresses, and so retires no worker.
            move = scheduler.retire_workers(names=done, close_workers=True, remove=True)
            moves.append(asyncio.ensure_future(move))
            began = loop.time()
        if leaving:
            await asyncio.sleep(CHECK_EVERY)
        elif not all(move.done() for move in moves):
            await asyncio.wait(moves, timeout=CHECK_EVERY)
        else:
            break  # no worker registered while the last ones left
        leaving = {
            name: ws
            for name, ws in leaving.items()
            if scheduler.workers.get(ws.address) is ws
        }
        for ws in leaving.values():
            if ws.status is Status.running:  # it was paused for its memory as well
                _pause(scheduler, ws)
    await asyncio.gather(*moves)
    return [
        ws.name
        for address, ws in scheduler.workers.items()
        if address in known and node_of(ws.name) in wanted
    ]


def _pause_workers(
    scheduler: Scheduler, wanted: Collection[str], known: set[str]
) -> dict[str, WorkerState]:
    """Keep new tasks from workers of these nodes that have registered since."""
    fresh = dict.keys(scheduler.workers) - known  # few, even of ten thousand workers
    known |= fresh
    registered = (scheduler.workers[address] for address in fresh)
    new = {ws.name: ws for ws in registered if node_of(ws.name) in wanted}
    for ws in new.values():
        _pause(scheduler, ws)
    hand_over(scheduler, new.values())
    return new


def _pause(scheduler: Scheduler, ws: WorkerState) -> None:
    # As if the worker had paused itself: the scheduler sends it no new task.
    scheduler.handle_worker_status_change(Status.paused, ws, f"scale-down-{time()}")


def _log_overdue(busy: list[WorkerState], timeout: float) -> None:
    if busy:
        tasks = [ts for ws in busy for ts in ws.processing]
        more = len(tasks) - TASKS_NAMED
        logger.warning(
            "Tasks of %s still ran after %g s and will run again elsewhere: %s%s",
            ", ".join(ws.name for ws in busy),
            timeout,
            ", ".join(repr(ts.key) for ts in tasks[:TASKS_NAMED]),
            f" and {more} more" if more > 0 else "",
        )


def hand_over(
    scheduler: Scheduler,
    leaving: Iterable[WorkerState],
    tasks: Collection[TaskState] | None = None,
) -> None:
    """Have other workers run tasks that these have not begun: all, or those given.

    Uses Dask's work stealing: the worker itself decides whether it has begun a task.
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


async def drain_cluster(cluster: Any, seconds: float | None = None) -> int:
    """Stop all nodes after their running tasks end; returns how many tasks are left.

    Runs in the cluster's event loop. The time limit is ``finish-timeout`` by default.
    Results are not kept: no worker is left to store them.
    """
    timeout = cluster.options.finish_timeout if seconds is None else seconds
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    with suppress_close_messages(cluster.scheduler):
        await cluster.scale(0)  # pauses the workers, so they get no new tasks
        left = await _until_none(lambda: busy(cluster), deadline)
        if not left:
            workers = cluster.scheduler.workers
            await _until_none(lambda: len(workers), loop.time() + LEAVING_SECONDS)
    return left


async def _until_none(count: Callable[[], int], deadline: float) -> int:
    loop = asyncio.get_running_loop()
    while True:
        left = count()
        if not left or loop.time() >= deadline:
            return left
        await asyncio.sleep(DRAIN_CHECK_EVERY)


def busy(cluster: Any) -> int:
    """How many tasks the workers have been sent and have not finished."""
    workers = cluster.scheduler.workers.values()
    return sum(len(ws.processing) for ws in workers)
