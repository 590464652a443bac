"""Dask on Grid Engine: ``Client(GridEngineCluster(jobs=100))``.

Nothing is imported until it is asked for (PEP 562): a node imports this package and
must not pay for Dask before it knows that it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_gridengine._version import __version__

if TYPE_CHECKING:
    from dask_gridengine.cluster.cluster import GridEngineCluster
    from dask_gridengine.errors import (
        ArrayTooLarge,
        DrmCommunicationError,
        GridEngineError,
        GridFull,
        LauncherError,
        LauncherUnavailable,
        NoAnswer,
        NodesFailed,
        OptionError,
        SubmitError,
        Unsatisfiable,
    )
    from dask_gridengine.outside.connecting import connect

_HOME = {
    "GridEngineCluster": "cluster.cluster",
    "connect": "outside.connecting",
    "GridEngineError": "errors",
    "OptionError": "errors",
    "LauncherError": "errors",
    "LauncherUnavailable": "errors",
    "SubmitError": "errors",
    "GridFull": "errors",
    "ArrayTooLarge": "errors",
    "DrmCommunicationError": "errors",
    "NoAnswer": "errors",
    "NodesFailed": "errors",
    "Unsatisfiable": "errors",
}

__all__ = [
    "GridEngineCluster",
    "connect",
    "GridEngineError",
    "OptionError",
    "LauncherError",
    "LauncherUnavailable",
    "SubmitError",
    "GridFull",
    "ArrayTooLarge",
    "DrmCommunicationError",
    "NoAnswer",
    "NodesFailed",
    "Unsatisfiable",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
