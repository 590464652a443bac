"""What the grid has given this node: slots, memory, versions, age."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import sys
from pathlib import Path

from dask_gridengine._version import __version__
from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.batch.job_environment import read_job_environment
from dask_gridengine.bootstrap.messages import Hello
from dask_gridengine.worker.prologue import failures


def hello(batch_system: str) -> Hello:
    """Describe this node, which that batch system started, to its cluster.

    Raises KeyError, with its name, if a variable of the grid's is missing.
    """
    job = read_job_environment(batch_system, os.environ)
    limits = [limit for limit in (memory(), job.pop("memory", 0)) if limit]
    return Hello(
        **job,
        submission_id=os.environ.get(SUBMISSION, ""),
        process_token=os.urandom(16).hex(),
        host=socket.gethostname(),
        pid=os.getpid(),
        memory=min(limits, default=0),
        host_memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        host_cpus=os.cpu_count() or 1,
        age=age(),
        prologue=failures(),
        versions=versions(),
    )


def versions() -> dict[str, str]:
    """Return the versions that must match the cluster's, without importing Dask."""
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "dask": _installed("dask"),
        "distributed": _installed("distributed"),
        "dask-gridengine": __version__,
    }


def _installed(package: str) -> str:
    """Return what `importlib.metadata.version` returns, if possible without it.

    To import it takes a quarter of the time that a node needs before its hello.
    """
    prefix, suffix = f"{package}-", ".dist-info"
    for folder in sys.path:
        with contextlib.suppress(OSError):  # it does not exist, or is a zip file
            for name in os.listdir(folder or "."):
                if name.startswith(prefix) and name.endswith(suffix):
                    return name[len(prefix) : -len(suffix)]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def age() -> float:
    """Return the seconds since this process was created, as the kernel counts them.

    The job's shell has become this process, so the time of its prologue is included.
    """
    try:
        stat = Path("/proc/self/stat").read_text()
        began = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        # Not a clock of this process: those may be preloaded (libfaketime). A container
        # may have its own, shorter uptime: then the age is 0.
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - began)
    except (OSError, ValueError, IndexError):
        return 0.0


def memory() -> int:
    """Return the bytes that the grid's limits leave this node; 0 without a limit.

    Grid Engine enforces ``h_vmem`` as RLIMIT_AS and ``h_data`` as RLIMIT_DATA
    (``man 5 queue_conf``); Univa and Altair may use a memory cgroup instead.
    """
    limits = [
        soft
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY
    ]
    if (limit := _cgroup_memory()) is not None:
        limits.append(limit)
    return min(limits, default=0)


def _cgroup_memory() -> int | None:
    """Return the nearest limit of cgroup v2 above this process, if there is one."""
    root = Path("/sys/fs/cgroup")
    try:
        entry = Path("/proc/self/cgroup").read_text()
        path = next(line[3:] for line in entry.splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    group = root / path.lstrip("/")
    while True:
        with contextlib.suppress(OSError, ValueError):  # or "max"
            return int((group / "memory.max").read_text())
        if group in (root, group.parent):
            return None
        group = group.parent
