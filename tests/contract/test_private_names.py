"""Private names of Dask's and Python's that a node uses.

What they do is tested where they are used; this says which one is missing.
"""

from __future__ import annotations

import functools
import inspect
from importlib import import_module
from multiprocessing import (
    forkserver,
    popen_fork,
    popen_forkserver,
    popen_spawn_posix,
    synchronize,
    util,
)

import distributed
import pytest
from distributed import Nanny
from distributed.nanny import WorkerProcess

from dask_gridengine.cluster.adaptive import GridAdaptive
from dask_gridengine.scheduler.scheduler import ClusterScheduler, _Hooks
from dask_gridengine.worker.nanny import NodeNanny


@pytest.mark.parametrize(
    "name",
    [
        "distributed.nanny:Nanny._on_worker_exit_sync",
        "distributed.nanny:Nanny.close_gracefully",
        "distributed.nanny:Nanny.instantiate",
        "distributed.nanny:Nanny.log_event",
        "distributed.protocol.utils:host_array",
        "distributed.scheduler:Scheduler._task_to_msg",
        "distributed.scheduler:Scheduler.check_worker_ttl",
        "distributed.utils:_forkserver_preload_set",
        "distributed.versions:get_versions",
    ],
)
def test_dask_has_it(name: str) -> None:
    """With this very name."""
    module, _, path = name.partition(":")
    functools.reduce(getattr, path.split("."), import_module(module))


@pytest.mark.parametrize("cls", [ClusterScheduler, GridAdaptive, NodeNanny, _Hooks])
def test_an_override_takes_what_dask_passes(cls: type) -> None:
    """Every argument of the method that it overrides, in each version of Dask."""
    of_dask = super(cls, cls)
    for name, method in vars(cls).items():
        overridden = getattr(of_dask, name, None)
        if name.startswith("__") or not inspect.isfunction(overridden):
            continue
        parameters = inspect.signature(overridden).parameters.values()
        positional = [p for p in parameters if p.kind <= p.POSITIONAL_OR_KEYWORD]
        keywords = {p.name: p for p in parameters if p.kind is p.KEYWORD_ONLY}
        inspect.signature(method).bind(*positional, **keywords)  # raises TypeError


def test_a_nanny_reports_too_much_memory() -> None:
    """By an event whose name and field `NodeNanny` knows."""
    source = inspect.getsource(import_module("distributed.worker_memory"))
    assert '"worker-restart-memory"' in source
    assert '"rss"' in source


def test_the_stop_order_of_a_worker_process() -> None:
    """What `NodeNanny` repeats is what Dask's Nanny sends."""
    assert "child_stop_q.put" in inspect.getsource(WorkerProcess)
    assert '"op": "stop"' in inspect.getsource(WorkerProcess)
    assert "exitcode" in inspect.signature(Nanny._on_worker_exit_sync).parameters


def test_python_ends_processes_by_one_method() -> None:
    """A node replaces it, so that it ends workers that ignore SIGTERM."""
    for module in (popen_forkserver, popen_spawn_posix):
        assert issubclass(module.Popen, popen_fork.Popen)
        assert module.Popen.terminate is popen_fork.Popen.terminate


def test_python_starts_its_servers_as_they_are_forked() -> None:
    """Otherwise nodes spawn their workers, and semaphores stay after a kill."""
    assert hasattr(util, "spawnv_passfds")
    assert hasattr(forkserver._forkserver, "_lock")  # type: ignore[attr-defined]
    assert hasattr(util, "_finalizer_registry")
    assert hasattr(synchronize.SemLock, "_cleanup")
    assert distributed.utils._forkserver_preload_set in (True, False)
