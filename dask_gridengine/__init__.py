"""Dask on Grid Engine: ``Client(GridEngineCluster(jobs=100))``.

Public names are imported at first use (PEP 562): a node imports this package and must
not pay for Dask before it has its allocation.
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
        UnknownOption,
        Unsatisfiable,
    )

__all__ = [
    "GridEngineCluster",
    "connect",
    "GridEngineError",
    "OptionError",
    "UnknownOption",
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
    import dask_gridengine.dask_config  # noqa: F401


# If Dask is not imported yet, the first of the names above imports it.
if "dask.config" in sys.modules:
    _register_defaults()


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = {"GridEngineCluster": "cluster.cluster", "connect": "cli.client"}
    home = import_module(f"{__name__}.{module.get(name, 'errors')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
