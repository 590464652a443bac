"""Find the option that sets a memory limit, and a larger value for it. Pure."""

from __future__ import annotations

import re

from dask_gridengine.options import Options

#: Factors of a limit that was too small, and of the memory used, which may be more than
#: the limit; the larger result is requested.
MORE, MARGIN = 1.5, 1.25
#: Resources of Grid Engine that limit a job's memory (``man 5 queue_conf``).
LIMITS = ("h_vmem", "s_vmem", "h_data", "s_data", "h_rss", "s_rss")
#: Bytes of address space that a node and each of its workers need to start; Grid
#: Engine's limits count that. Measured: VmPeak is 270 MB for a node of one worker, and
#: 1.02 GB for one of four.
NODE_ADDRESS_SPACE, WORKER_ADDRESS_SPACE = 200 * 2**20, 220 * 2**20


def more_memory(used: int, limit: int) -> int:
    """Return the bytes to request where a limit was too small.

    Examples
    --------
    >>> more_memory(10**9, 10**9), more_memory(2 * 10**9, 10**9)
    (1500000000, 2500000000)
    """
    return int(max(limit * MORE, used * MARGIN))


def larger_memory(options: Options, size: int, *, of_grid: bool) -> str:
    """Return the option that gives a node `size` bytes.

    `of_grid` is whether the grid's limit was too small, rather than Dask's.
    """
    if not of_grid:
        return in_memory_option(size)
    processes = options.processes
    size = max(size, NODE_ADDRESS_SPACE + processes * WORKER_ADDRESS_SPACE)
    per_slot = options.memory_resource_per == "slot"
    share = -(-size // options.cores) if per_slot else size
    each = ", which counts for each slot" if per_slot and options.cores > 1 else ""
    if name := _limit_in(options.resource_spec or ""):
        return f"resource_spec='{name}={_grid_size(share)}'{each}"
    for line in options.job_extra_directives:
        if name := _limit_in(line):
            return f"'-l {name}={_grid_size(share)}' in job_extra_directives{each}"
    if options.memory_resource and options.memory:
        return in_memory_option(size)
    return (
        f"resource_spec='h_vmem={_grid_size(share)}'{each} (the limit is the queue's or"
        " the site's; no option of this cluster sets it)"
    )


def counts_address_space(options: Options) -> bool:
    """Whether the options request a limit of address space."""
    lines = (options.resource_spec or "", *options.job_extra_directives)
    names = {_limit_in(line) for line in lines} | {options.memory_resource}
    return not names.isdisjoint({"h_vmem", "s_vmem"})


def larger_worker(options: Options, limit: int, granted: int, size: int) -> str:
    """Return the option that gives a node `size` bytes if Dask's limit was too small.

    `limit` is that of one worker. `granted` are the bytes that the grid leaves the
    node, which bound Dask's limit; 0 is unlimited.
    """
    processes = options.processes
    of_grid = bool(granted) and limit * processes > granted - processes
    return larger_memory(options, size, of_grid=of_grid)


def in_memory_option(size: int) -> str:
    """Format the option ``memory=``.

    Examples
    --------
    >>> in_memory_option(12 * 10**9)
    "memory='12 GB'"
    """
    return f"memory='{round_up(size)}'"


def round_up(size: float) -> str:
    """Round bytes up to whole MB or GB.

    Examples
    --------
    >>> round_up(12e9), round_up(750e6), round_up(157.2e6)
    ('12 GB', '750 MB', '158 MB')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{-(-size // unit):.0f} {name}"
    return f"{size:.0f}"


def requested_limit(options: Options) -> str:
    """Return the name of the grid's memory limit that the options request, or ""."""
    lines = (options.resource_spec or "", *options.job_extra_directives)
    return next(filter(None, map(_limit_in, lines)), "")


def _limit_in(resources: str) -> str:
    found = re.search(rf"\b({'|'.join(LIMITS)})=", resources)
    return found[1] if found else ""


def _grid_size(size: int) -> str:
    """Format bytes for Grid Engine (``man 1 sge_types``), where M is 2**20.

    Examples
    --------
    >>> _grid_size(420 * 2**20), _grid_size(12 * 2**30 + 1)
    ('420M', '13G')
    """
    unit, name = (2**30, "G") if size >= 10 * 2**30 else (2**20, "M")
    return f"{-(-size // unit)}{name}"
