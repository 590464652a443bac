"""``python -m tests.chaos.soak MINUTES [SEED]``: load, faults, and a record of both.

Every task's result is checked. A random fault is injected every few seconds; between
faults the cluster must come back to its number by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import psutil
from dask.distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.nodes.history import JobRow

JOBS = 6
PAUSE = (4.0, 12.0)  # seconds between faults
NOTICED = 3.0  # seconds until a fault shows in the number of workers
TIDY = 30.0  # seconds until nothing may be left
GRID_KNOWS = 700.0  # the same for the grid's books, after a restart of its master
HEALED = 120.0  # seconds it may take to be whole again; a restarted master needs 60
CI_GRID = Path(__file__).parents[2] / "ci" / "grid"


def square(x: int) -> int:
    """A tenth of a second of work."""
    time.sleep(0.05 + 0.1 * random.random())
    return x * x


class Load(threading.Thread):
    """Runs one computation after the other and checks each result."""

    def __init__(self, client: Client, seed: int) -> None:
        super().__init__(name="load")
        self._client, self._random = client, random.Random(seed)
        self.done: Counter[str] = Counter()
        self.trouble: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        kinds = [self.futures, self.array, self.tree]
        while not self.over.is_set():
            kind = self._random.choice(kinds)
            try:
                count = kind()
            except Exception as exc:  # noqa: BLE001 - each is entered in the books
                self.trouble.append(f"{kind.__name__}: {type(exc).__name__}: {exc}")
            else:
                self.done[kind.__name__] += count

    def futures(self) -> int:
        n = self._random.randrange(20, 200)
        futures = self._client.map(square, range(n), pure=False, retries=5)
        assert self._client.gather(futures) == [x * x for x in range(n)]
        return n

    def array(self) -> int:
        n = self._random.randrange(200, 1200)
        x = da.ones((n, n), chunks=(200, 200))
        assert float((x @ x.T).sum().compute()) == float(n) ** 3
        return int(np.ceil(n / 200)) ** 3

    def tree(self) -> int:
        futures = self._client.map(square, range(64), pure=False, retries=5)
        while len(futures) > 1:
            pairs = zip(futures[::2], futures[1::2], strict=True)
            futures = [self._client.submit(sum, pair, retries=5) for pair in pairs]
        assert futures[0].result() == sum(x * x for x in range(64))
        return 127


class Faults:
    """The faults that this launcher can have."""

    def __init__(
        self, cluster: GridEngineCluster, launcher: str, rng: random.Random
    ) -> None:
        self._cluster, self._rng = cluster, rng
        self.count: Counter[str] = Counter()
        self._kinds: list[tuple[int, Callable[[], None]]] = [
            (6, self.kill_node),
            (4, self.kill_worker),
            (3, self.courtesy_signal),
            (3, self.stop_worker),
            (4, self.scale),
            (2, self.suspend_us),
        ]
        if launcher == "drmaa":
            self._kinds += [
                (3, self.delete),
                (2, self.kill_session),
                (2, self.pull_cable),
                (1, self.restart_master),
            ]

    def inject(self) -> str:
        weights = [weight for weight, _ in self._kinds]
        (kind,) = self._rng.choices([kind for _, kind in self._kinds], weights)
        name = kind.__name__
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess, IndexError):
            kind()
            self.count[name] += 1
        return name

    def kill_node(self) -> None:
        os.kill(self._victim().pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        self._worker().kill()

    def courtesy_signal(self) -> None:
        os.kill(self._victim().pid, signal.SIGUSR2)

    def stop_worker(self) -> None:
        worker = self._worker()
        worker.suspend()
        time.sleep(self._rng.uniform(0.5, 5))
        worker.resume()

    def scale(self) -> None:
        self._cluster.scale(self._rng.randrange(1, 2 * JOBS))
        time.sleep(self._rng.uniform(0, 3))
        self._cluster.scale(JOBS)

    def suspend_us(self) -> None:
        """Suspend this process; a child process resumes it."""
        pause = self._rng.uniform(2, 12)
        script = f"kill -STOP {os.getpid()}; sleep {pause}; kill -CONT {os.getpid()}"
        subprocess.run(["sh", "-c", script], check=True)

    def delete(self) -> None:
        subprocess.run(["qdel", str(self._victim().id)], capture_output=True)
        time.sleep(3)
        self._cluster.scale(JOBS)  # it obeys; the user wants it back

    def kill_session(self) -> None:
        for child in psutil.Process().children():
            if "launchers.drmaa.process" in " ".join(child.cmdline()):
                child.kill()

    def pull_cable(self) -> None:
        grid("cut", "node1")
        time.sleep(self._rng.choice([3, 20, 50]))
        grid("heal", "node1")

    def restart_master(self) -> None:
        grid("stop-master")
        time.sleep(self._rng.uniform(1, 15))
        grid("start-master")

    def _victim(self) -> JobRow:
        rows = [row for row in self._cluster.jobs() if row.state.value == "working"]
        return self._rng.choice(rows)

    def _worker(self) -> psutil.Process:
        children = psutil.Process(self._victim().pid).children(recursive=True)
        workers = [c for c in children if not c.children()]
        return self._rng.choice(workers)


def grid(*arguments: str) -> None:
    """``ci/grid ARGUMENTS``."""
    subprocess.run([CI_GRID, *arguments], check=True, stdin=subprocess.DEVNULL)


def whole(cluster: GridEngineCluster) -> bool:
    """Return whether the cluster has as many workers as requested."""
    return cluster.jobs().counts().get("working", 0) == JOBS


def soak(launcher: str, minutes: float, seed: int) -> int:
    """Run load and faults; return the exit status."""
    rng = random.Random(seed)
    shared = Path(tempfile.mkdtemp(prefix="soak-"))
    before = descriptors()
    healing: list[float] = []
    unhealed = 0
    with (
        GridEngineCluster(
            jobs=JOBS,
            launcher=launcher,
            slots=JOBS if launcher == "process" else None,
            memory="1 GB",
            shared_directory=shared,
            scheduler_options={"dashboard": False, "dashboard_address": ":0"},
            quiet=True,
            silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):
        faults, load = Faults(cluster, launcher, rng), Load(client, seed)
        client.wait_for_workers(JOBS, timeout=120)
        load.start()
        deadline, next_word = time.monotonic() + 60 * minutes, time.monotonic()
        while time.monotonic() < deadline:
            began = time.monotonic()
            name = faults.inject()
            while whole(cluster) and time.monotonic() - began < NOTICED:
                time.sleep(0.02)
            noticed = not whole(cluster)
            while not whole(cluster) and time.monotonic() - began < HEALED:
                time.sleep(0.1)
            if not whole(cluster):
                unhealed += 1
                print(f"not whole {HEALED:g} s after {name}:\n{cluster.explain()}")
            elif noticed:
                healing.append(time.monotonic() - began)
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + 30
                print(
                    f"{(deadline - time.monotonic()) / 60:5.1f} min left;"
                    f" tasks {sum(load.done.values())}, faults {faults.count.total()},"
                    f" nodes {len(cluster.jobs())}, trouble {len(load.trouble)}",
                    flush=True,
                )
            time.sleep(rng.uniform(*PAUSE))
        load.over.set()
        load.join(timeout=300)
        hanging = load.is_alive()
        nodes = cluster.jobs()
        arrays = len({row.id.job for row in nodes})
        explanation = cluster.explain()
    leaked = leaks(launcher, shared, before)
    print(explanation)
    print(f"seed {seed}, {minutes:g} minutes on {launcher}")
    print(f"nodes started     {len(nodes)} in {arrays} arrays")
    print(f"faults injected   {faults.count.total()}: {dict(faults.count)}")
    if healing:
        healing.sort()
        median, most = healing[len(healing) // 2], healing[-1]
        print(f"whole again       median {median:.1f} s, at most {most:.1f} s")
    print(f"not whole again   {unhealed}")
    print(f"tasks done        {sum(load.done.values())}: {dict(load.done)}")
    print(f"lost or wrong     {len(load.trouble)}")
    for line in load.trouble[:20]:
        print(f"  {line[:500]}")
    print(f"load hanging        {hanging}")
    print(f"leaked            {leaked or 'nothing'}")
    shutil.rmtree(shared, ignore_errors=True)
    return int(bool(load.trouble or leaked or hanging or unhealed))


def leaks(launcher: str, shared: Path, before: int) -> list[str]:
    """Return what the cluster has left, half a minute after it has closed.

    A restarted master hears of the last ends ten minutes later: that is waited for.
    """
    found: list[str] = []
    began = time.monotonic()
    while time.monotonic() - began < (GRID_KNOWS if found else TIDY):
        found = [str(path) for path in shared.rglob("*") if path.suffix == ".json"]
        found += [
            f"process {process.pid}: {' '.join(process.info['cmdline'])[:100]}"
            for process in psutil.process_iter(["cmdline"])
            if str(shared) in " ".join(process.info["cmdline"] or [])
        ]
        if launcher == "drmaa":
            ran = subprocess.run(["qstat"], capture_output=True, text=True)
            found += ran.stdout.splitlines()[2:]
        if descriptors() > before + 5:
            found.append(f"{descriptors() - before} file descriptors")
        if not found:
            break
        if time.monotonic() - began > TIDY and not all(
            " dr " in line for line in found
        ):
            break
        time.sleep(0.5)
    return found


def descriptors() -> int:
    """Return how many files and sockets this process has open."""
    return len(os.listdir("/proc/self/fd"))


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launcher", choices=["drmaa", "process"], default="process")
    parser.add_argument("minutes", type=float)
    parser.add_argument("seed", type=int, nargs="?", default=int(time.time()))
    options = parser.parse_args()
    return soak(options.launcher, options.minutes, options.seed)


if __name__ == "__main__":
    sys.exit(main())
