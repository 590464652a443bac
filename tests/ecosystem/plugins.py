"""Plugins, uploaded files, restarts: what changes the workers themselves."""

from __future__ import annotations

import os
from typing import Any

from distributed import NannyPlugin, SchedulerPlugin, WorkerPlugin
from distributed.diagnostics.plugin import Environ, UploadDirectory

from tests.ecosystem.habits import WORKERS, Site
from tests.waiting import wait_until


class Stamp(WorkerPlugin):  # type: ignore[misc]
    """Leaves a mark on each worker."""

    name = "stamp"

    def setup(self, worker: Any) -> None:
        worker.stamp = "here"

    def teardown(self, worker: Any) -> None:
        del worker.stamp


class Variables(NannyPlugin):  # type: ignore[misc]
    """Sets a variable for all processes that this Nanny starts from now on."""

    name, restart = "variables", True

    def setup(self, nanny: Any) -> None:
        nanny.env["HABIT"] = "nanny"


class Counter(SchedulerPlugin):  # type: ignore[misc]
    """Counts tasks that come to memory."""

    name = "counter"

    def __init__(self) -> None:
        self.done = 0

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any
    ) -> None:
        self.done += finish == "memory"


def stamped(dask_worker: Any) -> bool:
    return getattr(dask_worker, "stamp", "") == "here"


def worker_plugin(site: Site) -> None:
    """It is on every worker, on one that comes later too, and can be taken off."""
    site.client.register_plugin(Stamp())
    assert set(site.client.run(stamped).values()) == {True}
    site.cluster.scale(WORKERS + 1)
    site.client.wait_for_workers(WORKERS + 1, timeout=60)
    assert list(site.client.run(stamped).values()) == [True] * (WORKERS + 1)
    site.client.unregister_worker_plugin("stamp")
    assert set(site.client.run(stamped).values()) == {False}
    site.cluster.scale(WORKERS)
    wait_until(lambda: len(site.names()) == WORKERS, "the old number", 30, site.names)


def nanny_plugin(site: Site) -> None:
    """A variable that it sets is in the worker's environment after its restart."""
    names = site.names()
    site.client.register_plugin(Variables())
    site.settled()
    assert set(site.client.run(os.getenv, "HABIT").values()) == {"nanny"}
    assert site.names() == names
    site.client.unregister_worker_plugin("variables", nanny=True)


def environ_plugin(site: Site) -> None:
    """Dask's own Environ sets variables where workers are started."""
    site.client.register_plugin(Environ({"HABIT_TOO": "environ"}))
    site.settled()
    assert set(site.client.run(os.getenv, "HABIT_TOO").values()) == {"environ"}


def scheduler_plugin(site: Site) -> None:
    """It sees the tasks of this client."""
    site.client.register_plugin(Counter())
    site.client.gather(site.client.map(abs, range(10), pure=False))

    def done(dask_scheduler: Any) -> int:
        return int(dask_scheduler.plugins["counter"].done)

    assert site.client.run_on_scheduler(done) == 10
    site.client.unregister_scheduler_plugin("counter")


def upload_file(site: Site) -> None:
    """A module that only this host has can be imported by tasks, of new workers too."""
    module = site.directory / "only_here.py"
    module.write_text("answer = 42\n")

    def ask() -> int:
        import only_here  # type: ignore[import-not-found]

        return int(only_here.answer)

    site.client.upload_file(str(module))
    module.unlink()
    assert set(site.client.run(ask).values()) == {42}
    site.client.restart()
    site.settled()
    assert set(site.client.run(ask).values()) == {42}


def upload_directory(site: Site) -> None:
    """A package that only this host has can be imported by tasks."""
    package = site.directory / "package_here"
    package.mkdir()
    (package / "__init__.py").write_text("answer = 43\n")

    def ask() -> int:
        import package_here  # type: ignore[import-not-found]

        return int(package_here.answer)

    site.client.register_plugin(
        UploadDirectory(str(package), restart_workers=True, update_path=True)
    )
    site.settled()
    assert set(site.client.run(ask).values()) == {43}


def restart(site: Site) -> None:
    """Other processes, the same jobs and the same number of them; data is forgotten."""
    before, jobs = site.client.run(os.getpid), len(site.cluster.jobs())
    names, future = site.names(), site.client.submit(abs, -1, pure=False)
    future.result(timeout=30)
    site.client.restart()
    site.settled()
    after = site.client.run(os.getpid)
    assert len(after) == WORKERS
    assert not set(before.values()) & set(after.values())
    assert future.status == "cancelled"
    assert (site.names(), len(site.cluster.jobs())) == (names, jobs)
