"""Distributed ``map``, jobs and schedulers for Grid Engine, on Dask.

    import gridengine
    gridengine.map(f, [1, 2, 3])

The API of the library of the same name, on `dask_gridengine`: one array job for all
items instead of one job for each, and kept between calls. Nothing is imported until it
is used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gridengine.dispatch import JobDispatcher
    from gridengine.errors import NotPicklable, RemoteError, WorkerDied
    from gridengine.functional import imap, imap_unordered, map, starmap
    from gridengine.job import Job
    from gridengine.schedulers import (
        GridEngineScheduler,
        ProcessScheduler,
        TimeoutError,
    )

_HOME = {
    "map": "functional",
    "starmap": "functional",
    "imap": "functional",
    "imap_unordered": "functional",
    "Job": "job",
    "JobDispatcher": "dispatch",
    "ProcessScheduler": "schedulers",
    "GridEngineScheduler": "schedulers",
    "TimeoutError": "errors",
    "NotPicklable": "errors",
    "RemoteError": "errors",
    "WorkerDied": "errors",
}

_MODULES = (
    "dispatch",
    "errors",
    "functional",
    "job",
    "schedulers",
    "serializer",
    "settings",
)

__all__ = [
    "map",
    "starmap",
    "imap",
    "imap_unordered",
    "Job",
    "JobDispatcher",
    "ProcessScheduler",
    "GridEngineScheduler",
    "TimeoutError",
    "NotPicklable",
    "RemoteError",
    "WorkerDied",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"gridengine.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gridengine.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
