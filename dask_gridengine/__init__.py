"""Dask on Grid Engine: ``Client(GridEngineCluster(jobs=100))``.

Nothing is imported until it is asked for (PEP 562): a node imports this package and
must not pay for Dask before it knows that it is needed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from dask_gridengine._version import __version__

if TYPE_CHECKING:
    from dask_gridengine.cli.client import connect
    from dask_gridengine.cluster.cluster import GridEngineCluster
    from dask_gridengine.errors import (
        ArrayTooLarge,
        ClusterNotRunning,
        DrmCommunicationError,
        GridEngineError,
        GridFull,
        LauncherError,
        LauncherUnavailable,
        ModuleMissing,
        NoAnswer,
        NodesFailed,
        OptionError,
        SubmitError,
        Unsatisfiable,
    )

_HOME = {
    "GridEngineCluster": "cluster.cluster",
    "connect": "cli.client",
    "GridEngineError": "errors",
    "OptionError": "errors",
    "LauncherError": "errors",
    "LauncherUnavailable": "errors",
    "SubmitError": "errors",
    "GridFull": "errors",
    "ArrayTooLarge": "errors",
    "DrmCommunicationError": "errors",
    "ClusterNotRunning": "errors",
    "ModuleMissing": "errors",
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
    "ClusterNotRunning",
    "ModuleMissing",
    "NoAnswer",
    "NodesFailed",
    "Unsatisfiable",
    "__version__",
]


def _register_defaults() -> None:
    """Add our defaults to Dask's configuration."""
    import dask_gridengine.option_defaults  # noqa: F401


# Where Dask is not imported yet, the first of the names above does it.
if "dask.config" in sys.modules:
    _register_defaults()


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
