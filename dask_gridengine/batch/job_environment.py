"""What a node reads of its own job, from the variables that the batch system sets.

Nodes import this module before they connect, so it imports as little as possible.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dask_gridengine.batch.base import ORDINAL


def read_job_environment(system: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a `Hello` that this batch system's variables contain.

    Raises `KeyError` if a variable is missing: this process is not a node.
    """
    if system == "gridengine":
        return _grid_engine(environ)
    if system == "slurm":
        return _slurm(environ)
    return {"job": "", "index": int(environ[ORDINAL])}


def _grid_engine(environ: Mapping[str, str]) -> dict[str, Any]:
    """Source: man 1 qsub, ENVIRONMENTAL VARIABLES."""
    elsewhere = _slots_elsewhere(environ)
    return {
        "job": environ["JOB_ID"],
        "index": int(environ["SGE_TASK_ID"]),
        "slots": max(1, int(environ.get("NSLOTS", 1)) - elsewhere),
        "slots_elsewhere": elsewhere,
        "parallel_environment": environ.get("PE", "")[:256],
        "queue": environ.get("QUEUE", ""),
        "notify": _notify(environ),
    }


def _slots_elsewhere(environ: Mapping[str, str]) -> int:
    """Slots on other hosts: PE_HOSTFILE has lines "host slots queue processors".

    The first host in the file is the one where the job starts.
    """
    by_host: dict[str, int] = {}
    try:
        lines = Path(environ["PE_HOSTFILE"]).read_text().splitlines()
        for host, slots, *_ in filter(None, map(str.split, lines)):
            by_host[host] = by_host.get(host, 0) + int(slots)
    except (KeyError, OSError, ValueError):
        return 0
    names = (os.uname().nodename, environ.get("HOSTNAME", ""))
    short_names = {name.partition(".")[0] for name in names}
    here = [host for host in by_host if host.partition(".")[0] in short_names]
    here = here or list(by_host)[:1]
    return sum(slots for host, slots in by_host.items() if host not in here)


def _notify(environ: Mapping[str, str]) -> float:
    """The queue's ``notify``, which the job's spool directory contains."""
    try:
        config = Path(environ["SGE_JOB_SPOOL_DIR"]) / "config"
        lines = config.read_text(errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("notify="))
        return max(0.0, float(line.partition("=")[2]))
    except (KeyError, OSError, ValueError, StopIteration):
        return 0.0


def _slurm(environ: Mapping[str, str]) -> dict[str, Any]:
    """SLURM_JOB_ID of an array's task is another number and never the id.

    slurm-drmaa does not set SLURM_CPUS_PER_TASK.
    """
    slots = _number(environ, "SLURM_CPUS_ON_NODE") or 1
    per_cpu = _number(environ, "SLURM_MEM_PER_CPU")
    # A client within a job leaks its SLURM_MEM_PER_NODE into its nodes. Nodes request
    # memory per node, which overwrites it; where they do not, per CPU is right.
    memory = per_cpu * slots or _number(environ, "SLURM_MEM_PER_NODE")
    return {
        "job": environ["SLURM_ARRAY_JOB_ID"],
        "index": int(environ["SLURM_ARRAY_TASK_ID"]),
        "slots": slots,
        "memory": memory * 2**20,
        "queue": environ.get("SLURM_JOB_PARTITION", ""),
    }


def _number(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    return int(value) if value.isdigit() else 0
