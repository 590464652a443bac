"""Batch systems: Grid Engine, Slurm, and any other that has DRMAA 1.0."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.errors import OptionError

if TYPE_CHECKING:
    from dask_gridengine.batch.commands import Runner

#: Environment variable that names the batch system where `batch_system_of` is wrong.
OVERRIDE = "GRIDENGINE_BATCH_SYSTEM"
NAMES = ("gridengine", "slurm", "plain")

#: How DRMAA's ``drmsInfo`` begins, and the name of the batch system.
_DRMS_INFO = (
    (
        r"(SGE|SoGE|OGS|OGE|GE|UGE|AGE|OCS|GCS|Univa|Altair Grid|.*Grid ?Engine)\b",
        "gridengine",
    ),
    (r"SLURM", "slurm"),
)


def batch_system_of(drms_info: str, run: Runner) -> BatchSystem:
    """Return the batch system that DRMAA describes by this ``drmsInfo``.

    The variable GRIDENGINE_BATCH_SYSTEM takes precedence. Vendors give Grid Engine new
    names: an unknown name is Grid Engine if SGE_ROOT is set and ``qconf`` works.
    """
    if name := os.environ.get(OVERRIDE):
        return batch_system(name)
    for pattern, known in _DRMS_INFO:
        if re.match(pattern, drms_info, re.IGNORECASE):
            return batch_system(known)
    if os.environ.get("SGE_ROOT"):
        from dask_gridengine.batch.commands import output_of

        if output_of(["qconf", "-sh"], run):
            return batch_system("gridengine")
    return BatchSystem()


def batch_system(name: str) -> BatchSystem:
    """Return the batch system of this name; raise `OptionError` for any other name."""
    # Nodes import this package before they connect: import only what is used.
    if name == "gridengine":
        from dask_gridengine.batch.sge import GridEngine

        return GridEngine()
    if name == "slurm":
        from dask_gridengine.batch.slurm import Slurm

        return Slurm()
    if name == "plain":
        return BatchSystem()
    raise OptionError(f"{OVERRIDE}={name!r} is not one of {', '.join(NAMES)}")
