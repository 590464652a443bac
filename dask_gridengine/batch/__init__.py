"""What is peculiar to each kind of grid: one module, or folder, for each.

`dialect_of` chooses by what DRMAA says of itself, `dialect` by a dialect's name.
"""

from __future__ import annotations

import re

from dask_gridengine.batch.base import BatchSystem

DIALECTS = ("gridengine", "slurm", "plain")

#: What ``drmsInfo`` begins with, in order; the name of whose dialect it is.
_SAID = (
    (r"(SGE|SoGE|OGS|OGE|GE|UGE|AGE|Univa|Altair Grid|.*Grid ?Engine)\b", "gridengine"),
    (r"SLURM", "slurm"),
)


def dialect_of(system: str, name: str | None = None) -> BatchSystem:
    """The dialect of the grid that calls itself so (DRMAA's ``drmsInfo``).

    Parameters
    ----------
    system
        What it calls itself.
    name
        The dialect's, where somebody knows better.

    Examples
    --------
    >>> dialect_of("SGE 8.1.9").name, dialect_of("SLURM 22.05.8").name
    ('gridengine', 'slurm')
    >>> dialect_of("GridWay 5.4").name
    'plain'
    """
    if name is not None:
        return dialect(name)
    for said, known in _SAID:
        if re.match(said, system, re.IGNORECASE):
            return dialect(known)
    return BatchSystem()


def dialect(name: str) -> BatchSystem:
    """A dialect by its name.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    # Only the one that is meant: a node pays for each module before its hello.
    if name == "gridengine":
        from dask_gridengine.batch.sge import GridEngine

        return GridEngine()
    if name == "slurm":
        from dask_gridengine.batch.slurm import Slurm

        return Slurm()
    if name == "plain":
        return BatchSystem()
    raise ValueError(f"no dialect {name!r}")
