"""What the grid has granted this node, read from where the grid leaves its traces."""

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
    """Describe this node to its cluster.

    Parameters
    ----------
    batch_system
        Name of the batch system that started it.

    Raises
    ------
    KeyError
        If this process is no node: a variable that the grid sets is missing.
    """
    environ = os.environ
    job = read_job_environment(batch_system, environ)
    return Hello(
        job=job.job,
        index=job.index,
        submission_id=environ.get(SUBMISSION, ""),
        process_token=os.urandom(16).hex(),
        host=socket.gethostname(),
        pid=os.getpid(),
        slots=job.slots or 1,
        slots_elsewhere=job.slots_elsewhere,
        parallel_environment=job.parallel_environment[:256],
        memory=_least(memory(), job.memory),
        host_memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        host_cpus=os.cpu_count() or 1,
        age=age(),
        queue=job.queue,
        notify=job.notify,
        prologue=failures(),
        versions=versions(),
        via="",
        tried={},
    )


def versions() -> dict[str, str]:
    """Versions that must match the cluster's, without importing what they are of."""
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "dask": _installed("dask"),
        "distributed": _installed("distributed"),
        "dask-gridengine": __version__,
    }


def _installed(package: str) -> str:
    """What `importlib.metadata.version` says, without it where that is possible.

    To import it takes a quarter of the time that a node needs before its hello.
    """
    prefix, suffix = f"{package}-", ".dist-info"
    for place in sys.path:
        with contextlib.suppress(OSError):  # not there, or a zip file
            for name in os.listdir(place or "."):
                if name.startswith(prefix) and name.endswith(suffix):
                    return name[len(prefix) : -len(suffix)]
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def age() -> float:
    """Seconds since this process was made; by the kernel, which no clock confuses.

    The job's shell has become this process, so its prologue is in it.
    """
    try:
        stat = Path("/proc/self/stat").read_text()
        began = int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        # Not a clock of this process: those may be preloaded (libfaketime). Containers
        # may have an uptime of their own, which is less: then it is as if just born.
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - began)
    except (OSError, ValueError, IndexError):
        return 0.0


def _least(*limits: int) -> int:
    """The smallest of these that is one; 0 is none."""
    return min((limit for limit in limits if limit), default=0)


def memory() -> int:
    """Bytes that the grid's limits leave this node; 0 where there is no limit.

    Grid Engine enforces ``h_vmem`` as RLIMIT_AS and ``h_data`` as RLIMIT_DATA
    (``man 5 queue_conf``); Univa and Altair may use a memory cgroup instead.
    """
    limits = [
        soft
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA)
        if (soft := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY
    ]
    if (group := _cgroup_memory()) is not None:
        limits.append(group)
    return min(limits, default=0)


def _cgroup_memory() -> int | None:
    """The nearest limit of cgroup v2 above this process; None if there is none."""
    root = Path("/sys/fs/cgroup")
    try:
        entry = Path("/proc/self/cgroup").read_text()
        place = next(line[3:] for line in entry.splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    here = root / place.lstrip("/")
    for folder in (here, *here.parents):
        try:
            said = (folder / "memory.max").read_text().strip()
        except OSError:
            said = "max"
        if said != "max":
            return int(said)
        if folder == root:
            break
    return None
