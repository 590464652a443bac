"""What a node becomes: what the user asked for and what the grid granted."""

from __future__ import annotations

from distributed import Scheduler

from dask_gridengine.bootstrap.messages import Allocation, Hello, TLSIdentity
from dask_gridengine.dask_config import differing_config
from dask_gridengine.nodes.endpoints import contact
from dask_gridengine.nodes.import_path import import_path
from dask_gridengine.options import Options

#: Variables by which numeric libraries size their thread pools. A worker runs a task
#: in each of its threads, so a pool gets the slots divided by those.
THREAD_POOLS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def allocate(
    options: Options,
    scheduler: Scheduler,
    tls: TLSIdentity | None,
    name: str,
    hello: Hello,
    *,
    share: float | None = None,
    working_directory: str = "",
) -> Allocation:
    """The allocation of the node that said `hello`.

    Parameters
    ----------
    options
        What the user asked for.
    scheduler
        Where the worker shall register.
    tls
        What it shows there; None without encryption.
    name
        What it is called; its workers are named after it.
    hello
        What the grid granted it; this counts more than what was asked.
    share
        See `memory_limit`.
    working_directory
        Of the process with the cluster when the cluster started; "" if it had none.
    """
    given = dict(options.worker_options)
    if offered := options.offered:
        given["resources"] = offered
    processes = options.processes
    nthreads = int(given.pop("nthreads", max(1, hello.slots // processes)))
    pools = str(max(1, hello.slots // (nthreads * processes)))
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
        environment={**dict.fromkeys(THREAD_POOLS, pools), **options.environment},
        config=differing_config(),
        options=given,
        interface=options.worker_interface or "",
        port=str(options.worker_port or ""),
        nanny_port=str(options.worker_port or ""),
        tls=tls,
    )


def memory_limit(asked: int | None, hello: Hello, share: float | None = None) -> int:
    """Bytes for all of a node: what was asked, never more than what was granted.

    Parameters
    ----------
    asked
        Bytes; 0 is no limit, None the slots' share of the host's memory.
    hello
        What the node was granted.
    share
        Of this machine's memory, for a local node: those that can run at once share
        it. None on a grid, where other hosts' slots are not known.
    """
    if asked is None and share is not None:
        # A limit of this machine, such as a container's, is for all its nodes together.
        there = min(hello.host_memory, hello.memory or hello.host_memory)
        return int(there * share)
    if asked is None:
        share = min(1.0, hello.slots / hello.host_cpus)
        asked = int(hello.host_memory * share)
    if hello.memory and asked:
        return min(asked, hello.memory)
    return asked or hello.memory
