"""The ``dask gridengine`` commands, and `dask_gridengine.connect`."""

from dask_gridengine.cli.main import gridengine

__all__ = ["gridengine"]
