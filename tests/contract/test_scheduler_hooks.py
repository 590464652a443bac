"""What `ClusterScheduler` and its plugins rely on in Dask's scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed import Client, Scheduler, Worker
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol.serialize import ToPickle

from tests.scheduler.scene import lose, nap
from tests.waiting import until


class Recorder(SchedulerPlugin):
    """Record what the plugins of the cluster use."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.removals: list[dict[str, Any]] = []
        self.states: list[tuple[str, int]] = []  # of tasks at a removal
        self.transitions: list[tuple[Any, ...]] = []
        self.statuses: list[tuple[str, str]] = []

    def log_event(self, topic: str, msg: Any) -> None:
        if msg.get("action") == "remove-worker" and topic == "all":
            self.removals.append(msg)
            for key in msg["processing-tasks"]:
                ts = self._scheduler.tasks[key]
                self.states.append((ts.state, ts.suspicious))
        if msg.get("action") == "worker-status-change":
            self.statuses.append((topic, msg["status"]))

    def transition(
        self, key: Any, start: str, finish: str, *_: Any, **how: Any
    ) -> None:
        self.transitions.append((start, finish, how.get("startstops")))


class Sends(Scheduler):
    """Record the messages that send a task to a worker."""

    sent: list[dict[str, Any]]

    def _task_to_msg(self, ts: Any, *duration: float) -> dict[str, Any]:
        msg: dict[str, Any] = super()._task_to_msg(ts, *duration)
        assert ts.processing_on is not None
        self.sent.append(msg)
        return msg


async def test_dask_calls_the_hooks_as_they_are_used(tmp_path: Path) -> None:
    """At a removal tasks have been counted, but not yet been sent elsewhere."""
    options: dict[str, Any] = {
        "host": ["127.0.0.1", None],
        "port": [0, None],
        "interface": [None, None],
        "protocol": ["tcp", "inproc"],
        "dashboard_address": ":0",
        "dashboard": False,
    }
    scheduler = Sends(**options)
    scheduler.sent = []
    async with scheduler:
        network, inside = scheduler.listeners
        assert scheduler.address == network.contact_address
        assert network.contact_address.startswith("tcp://127.0.0.1:")
        assert inside.contact_address.startswith("inproc://")
        recorder = Recorder(scheduler)
        scheduler.add_plugin(recorder, name="recorder")
        async with (
            Worker(scheduler.address, name="w0", local_directory=tmp_path) as w,
            Client(inside.contact_address, asynchronous=True) as client,
        ):
            assert await client.submit(int, 7) == 7
            (phases,) = [p for *ends, p in recorder.transitions if p]
            assert {"action", "start", "stop"} <= phases[0].keys()
            assert ("processing", "memory", phases) in recorder.transitions
            assert all(isinstance(m["run_spec"], ToPickle) for m in scheduler.sent)
            (ws,) = scheduler.workers.values()
            for status in (Status.paused, Status.running):
                scheduler.handle_worker_status_change(status, ws, "a test")
            assert recorder.statuses[-2:] == [
                (w.address, "paused"),
                (w.address, "running"),
            ]
            assert "worker-ttl" in scheduler.periodic_callbacks
            task = client.submit(nap)
            await until(lambda: w.state.executing_count, "it runs")
            await lose(scheduler, w)
            (removal,) = recorder.removals
            assert removal["worker"] == w.address
            assert removal["expected"] is False
            assert set(removal["processing-tasks"]) == {task.key}
            assert recorder.states == [("processing", 1)]
