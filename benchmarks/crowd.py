"""What Dask's scheduler, in a cluster's own process, pays for tasks and heartbeats.

    python benchmarks/crowd.py [--workers 10 100 1000] [--tasks 10000]

The workers are played by another process: each is a connection with TLS that registers,
answers every task at once or after a while, and computes nothing. So a row says what
the manager's process (Dask's scheduler, the client, our own watch) takes, on one core.
From that the model of docs/scaling.md follows, and the last lines check it: workers
whose tasks take some time, beside what the model says of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from distributed import Client
from distributed.comm import connect
from distributed.scheduler import heartbeat_interval
from distributed.security import Security
from paper import paper, say

from dask_gridengine import GridEngineCluster

BEATS = 4000
IDLE = 4.0  # seconds
SETTLE = 2.0  # seconds, in which the results are forgotten
#: Where the model is checked: workers, and seconds that a task takes.
CHECKS = ((100, 0.1), (1000, 1.0), (1000, 4.0))
OPTIONS = {"scheduler_options": {"dashboard_address": ":0"}, "quiet": True}
METRICS: dict[str, Any] = {
    "task_counts": {},
    "bandwidth": {"total": 1e8, "workers": {}, "types": {}},
    "digests_total_since_heartbeat": {},
    "managed_bytes": 0,
    "spilled_bytes": {"memory": 0, "disk": 0},
    "transfer": {
        "incoming_bytes": 0,
        "incoming_count": 0,
        "incoming_count_total": 0,
        "outgoing_bytes": 0,
        "outgoing_count": 0,
        "outgoing_count_total": 0,
    },
    "event_loop_interval": 0.02,
    "cpu": 1.0,
    "memory": 10**8,
    "time": 0.0,
    "host_net_io": {"read_bps": 0, "write_bps": 0},
    "host_disk_io": {"read_bps": 0, "write_bps": 0},
    "num_fds": 20,
}


class Player:
    """One worker, as far as the scheduler sees it."""

    def __init__(self, index: int, seconds: float) -> None:
        self.address = f"tls://127.0.0.1:{20000 + index}"
        self.name = f"ge-{index}"
        self._seconds = seconds
        self._comm: Any = None
        self._thread = asyncio.Lock()  # there is one

    async def arrive(self, scheduler: str, **how: Any) -> None:
        self._comm = await connect(scheduler, deserialize=False, **how)
        await self._comm.write(
            {
                "op": "register-worker",
                "reply": False,
                "address": self.address,
                "status": "running",
                "nthreads": 1,
                "name": self.name,
                "now": time.time(),
                "resources": {},
                "memory_limit": 2**30,
                "local_directory": "/tmp",
                "services": {},
                "nanny": None,
                "pid": 1,
                "versions": {},
                "metrics": METRICS,
                "extra": {},
                "stimulus_id": f"arrive-{self.name}",
                "server_id": self.name,
            }
        )
        answer = await self._comm.read()
        assert answer["status"] == "OK", answer

    async def work(self) -> None:
        running = set()
        while True:
            for message in await self._comm.read():
                if message["op"] == "compute-task":
                    running.add(task := asyncio.create_task(self._finish(message)))
                    task.add_done_callback(running.discard)

    async def _finish(self, message: dict[str, Any]) -> None:
        async with self._thread:
            began = time.time()
            if self._seconds:
                await asyncio.sleep(self._seconds)
            await self._say_done(message, began)

    async def _say_done(self, message: dict[str, Any], began: float) -> None:
        done = {
            "op": "task-finished",
            "status": "OK",
            "key": message["key"],
            "run_id": message["run_id"],
            "nbytes": 28,
            "type": b"",
            "typename": "int",
            "metadata": {},
            "thread": 1,
            "startstops": [{"action": "compute", "start": began, "stop": time.time()}],
            "stimulus_id": "played",
        }
        await self._comm.write([done])


async def play(scheduler: str, files: list[str], workers: int, seconds: float) -> None:
    """Be that many workers until standard input ends; a line there: send heartbeats."""
    ca, certificate, key = files
    how = Security(
        require_encryption=True,
        tls_ca_file=ca,
        tls_worker_cert=certificate,
        tls_worker_key=key,
    ).get_connection_args("worker")
    players = [Player(i, seconds) for i in range(workers)]
    for player in players:
        await player.arrive(scheduler, **how)
    working = [asyncio.create_task(player.work()) for player in players]
    beats = await connect(scheduler, **how)
    print("there", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        for i in range(BEATS):
            address = players[i % workers].address
            beat = {"address": address, "metrics": METRICS, "executing": {}}
            await beats.write({"op": "heartbeat_worker", "reply": True, **beat})
            await beats.read()
        print("beaten", flush=True)
    for each in working:
        each.cancel()
    await beats.close()


class Crowd:
    """The playing process.

    It ends after the cluster: Dask tells all other workers of each that is lost, which
    takes 12 ms a worker with 4,000 of them.
    """

    def __init__(self, cluster: Any, workers: int, seconds: float = 0.0) -> None:
        security = cluster.security
        folder = tempfile.TemporaryDirectory()
        self._folder = folder
        files = []
        for name in ("tls_ca_file", "tls_worker_cert", "tls_worker_key"):
            path = Path(folder.name, name)
            path.touch(0o600)
            path.write_text(getattr(security, name))
            files.append(str(path))
        arguments = json.dumps([cluster.scheduler_address, files, workers, seconds])
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--play", arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.expect("there")

    def expect(self, word: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line == word, line

    def beat(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("beat\n")
        self._process.stdin.flush()
        self.expect("beaten")

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()


def cpu() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)


def run(client: Client, tasks: int) -> tuple[float, float]:
    """Seconds, and seconds of CPU of this process, for that many tasks."""
    began, spent = time.perf_counter(), cpu()
    futures = client.map(int, range(tasks), pure=False)
    while not all(future.done() for future in futures):
        time.sleep(0.02)
    took = time.perf_counter() - began, cpu() - spent
    return took


def measure(workers: int, tasks: int) -> tuple[float, float]:
    """Seconds of CPU for a task, and for a heartbeat."""
    with paper(), GridEngineCluster(**OPTIONS) as cluster, Client(cluster) as client:
        crowd = Crowd(cluster, workers)
        run(client, min(1000, tasks))  # what is imported and cached at first
        time.sleep(SETTLE)
        before = cpu()
        time.sleep(IDLE)
        idle = (cpu() - before) / IDLE
        before, began = cpu(), time.perf_counter()
        crowd.beat()
        own = idle * (time.perf_counter() - began)
        beat = (cpu() - before - own) / BEATS
        wall, spent = run(client, tasks)
        task = spent / tasks
        rate = workers / heartbeat_interval(workers)
        say(f"{workers} workers: CPU of a task", f"{task * 1e6:.0f} us")
        say(f"{workers} workers: tasks a second", f"{tasks / wall:.0f}")
        say(f"{workers} workers: idle, of a core", f"{idle:.1%}")
        say(f"{workers} workers: CPU of a heartbeat", f"{beat * 1e6:.0f} us")
        share = rate * beat
        say(f"{workers} workers: heartbeats, of a core", f"{share:.1%}")
    crowd.close()
    return task, beat


def check(workers: int, seconds: float, task: float, beat: float) -> None:
    """What the model says of these, beside what happens."""
    free = 1 - workers / heartbeat_interval(workers) * beat
    says = min(workers / seconds, free / task)
    tasks = int(says * 8)
    with paper(), GridEngineCluster(**OPTIONS) as cluster, Client(cluster) as client:
        crowd = Crowd(cluster, workers, seconds)
        run(client, workers)  # Dask learns how long a task takes
        wall, _ = run(client, tasks)
    crowd.close()
    what = f"{workers} workers, tasks of {seconds:g} s: tasks/s, model"
    say(what, f"{tasks / wall:.0f}, {says:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--play", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play:
        asyncio.run(play(*json.loads(options.play)))
        return
    costs = {n: measure(n, options.tasks) for n in options.workers}
    for workers, seconds in CHECKS:
        if workers in costs:
            check(workers, seconds, *costs[workers])


if __name__ == "__main__":
    main()
