"""Render what is submitted for a node as a script."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from dask_gridengine.formatting import format_size, plural
from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.job_request import submit_options
from dask_gridengine.nodes.memory_option import requested_limit
from dask_gridengine.options import Options


def render(
    options: Options, request: NodeRequest, launcher: Launcher, added: str = ""
) -> str:
    """Render one node as a script, which the grid's own command can submit.

    `added` is what the site adds to the request, as submit options. For local
    processes the script has what Grid Engine would be given.
    """
    shell, _, script = request.command
    if launcher.kind == "process":
        native = submit_options(options, launcher.kind, launcher.batch_system)
        request = replace(request, native=native)
    return "\n".join(
        [
            f"#!{shell}",
            f"# started by: {launcher.description}",
            *(f"# {remark}" for remark in _remarks(options, launcher, added)),
            *launcher.batch_system.script_directives(request),
            script,
            "",
        ]
    )


def _remarks(options: Options, launcher: Launcher, added: str) -> Iterator[str]:
    """Slots and memory mean different things to Dask and to Grid Engine."""
    local, environment = launcher.kind == "process", options.parallel_environment
    if local:
        yield "lines with #$ have no effect on local processes; only walltime has"
    through = f" (-pe {environment})" if environment else ""
    yield (
        f"cores: {plural(options.cores, 'slot')}{through} for"
        f" {plural(options.processes, 'worker')} with"
        f" {plural(options.threads, 'thread')} each"
    )
    if local and options.cores > 1 and not environment:
        yield "       Grid Engine needs parallel_environment for more than one"
    if options.memory is None:
        yield "memory: the limit of a worker is its slots' share of the host's memory"
    elif options.memory == 0:
        yield "memory: workers have no limit"
    else:
        each = format_size(options.memory / options.processes)
        yield f"memory: the limit of each worker is {each}"
    if options.memory and options.memory_resource:
        yield (
            f"        {options.memory_resource} is requested for it, charged per"
            f" {options.memory_resource_per}"
        )
    elif options.memory and (option := launcher.batch_system.memory_option):
        yield f"        {option} requests it of the grid"
    elif limit := requested_limit(options):
        yield f"        {limit} is requested as well, and is the grid's own limit"
    else:
        yield "        nothing is requested of the grid for it (memory_resource)"
    if added:
        yield f"this site adds to the request: {added}"
