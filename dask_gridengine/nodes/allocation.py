"""Make allocations, from the options and from what the grid granted."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Mapping
from functools import cache
from typing import Any

from distributed import Scheduler

from dask_gridengine.bootstrap.messages import Allocation, Hello, TLSIdentity
from dask_gridengine.nodes.listen_addresses import contact
from dask_gridengine.options import Options

#: Variables that set the size of numeric libraries' thread pools. A worker runs a task
#: in each of its threads, so a pool gets the slots divided by the threads.
THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def allocate(
    options: Options,
    scheduler: Scheduler,
    tls: TLSIdentity | None,
    name: str,
    hello: Hello,
    *,
    config: Mapping[str, Any],
    share: float | None = None,
    working_directory: str = "",
) -> Allocation:
    """Make the allocation of the node that sent `hello`, whose grants outweigh options.

    `config` is Dask's, see `differing_config`. `share` is explained in `memory_limit`.
    `working_directory` is that of this process when the cluster started, or "".
    """
    keywords = dict(options.worker_options)
    if offered := options.offered:
        keywords["resources"] = offered
    processes = options.processes
    nthreads = int(keywords.pop("nthreads", max(1, hello.slots // processes)))
    pool_size = str(max(1, hello.slots // (nthreads * processes)))
    return Allocation(
        process_token=hello.process_token,
        bootstrap_address=hello.via,
        name=name,
        scheduler=contact(options, scheduler, hello.via),
        processes=processes,
        nthreads=nthreads,
        memory_limit=memory_limit(options.memory, hello, share) // processes,
        death_timeout=options.death_timeout,
        drain_timeout=options.drain_timeout,
        nanny=options.nanny,
        start_method="fork",
        working_directory=working_directory,
        import_path=import_path(working_directory),
        local_directory=options.local_directory or "",
        environment={**dict.fromkeys(THREAD_POOLS, pool_size), **options.environment},
        config=dict(config),
        options=keywords,
        interface=options.worker_interface or "",
        port=str(options.worker_port or ""),
        nanny_port=str(options.worker_port or ""),
        tls=tls,
    )


def memory_limit(
    requested: int | None, hello: Hello, share: float | None = None
) -> int:
    """Return the bytes of a node: the requested ones, at most those granted.

    0 requests no limit, None the slots' share of the host's memory. `share` is a local
    node's share of this machine's memory, as those that can run at once share it; None
    on a grid, where other hosts' slots are not known.
    """
    if requested is None and share is not None:
        # A limit of this machine, such as a container's, is for all its nodes together.
        machine = min(hello.host_memory, hello.memory or hello.host_memory)
        return int(machine * share)
    if requested is None:
        requested = int(hello.host_memory * min(1.0, hello.slots / hello.host_cpus))
    if hello.memory and requested:
        return min(requested, hello.memory)
    return requested or hello.memory


def import_path(working_directory: str) -> list[str]:
    """List the entries of ``sys.path`` that are not part of this Python's installation.

    They lead to the user's modules: the script's directory, PYTHONPATH, what a notebook
    has appended. A node has the standard library and site-packages of its own Python.
    Relative entries need `working_directory`; if it is "", they are left out.
    """
    paths = dict.fromkeys(
        os.path.normpath(os.path.join(working_directory, entry))
        for entry in list(sys.path)
        if isinstance(entry, str)  # Python ignores others
    )
    return [path for path in paths if os.path.isabs(path) and not _installed(path)]


@cache
def _installed(entry: str) -> bool:
    return any(
        entry == directory or entry.startswith(directory + os.sep)
        for directory in _installations()
    )


@cache
def _installations() -> tuple[str, ...]:
    prefixes = [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix]
    stdlib = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    found = [
        *stdlib,
        *(os.path.join(os.path.dirname(directory), archive) for directory in stdlib),
        sysconfig.get_path("purelib"),
        sysconfig.get_path("platlib"),
        *site.getsitepackages(list(dict.fromkeys(prefixes))),
        site.getusersitepackages(),
    ]
    return tuple(dict.fromkeys(os.path.normpath(directory) for directory in found))
