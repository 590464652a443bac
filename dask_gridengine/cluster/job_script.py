"""Render what is submitted for a node as a script."""

from __future__ import annotations

from collections.abc import Iterator

from dask.utils import format_bytes

from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.options import Options


def render(
    options: Options, request: NodeRequest, launcher: Launcher, added: str = ""
) -> str:
    """Render one node as a script, which the grid's own command can submit.

    `added` is what the site adds to the request, as submit options.
    """
    shell, _, script = request.command
    return "\n".join(
        [
            f"#!{shell}",
            f"# started by: {launcher.description}",
            *(f"# {remark}" for remark in _remarks(options, added)),
            *launcher.batch_system.script_directives(request),
            script,
            "",
        ]
    )


def _remarks(options: Options, added: str) -> Iterator[str]:
    """Slots and memory mean different things to Dask and to Grid Engine."""
    environment = options.parallel_environment
    slots = f"{options.cores} slot{'s' if options.cores > 1 else ''} of the grid"
    through = f", through -pe {environment}" if environment else ""
    yield f"cores: {options.cores} threads for the worker = {slots}{through}"
    if options.memory is None:
        yield "memory: the worker's limit is its slots' share of its host's memory"
    else:
        yield f"memory: the worker's limit is {format_bytes(options.memory)}"
    if options.memory and options.memory_resource:
        yield (
            f"        and {options.memory_resource} is requested for it, charged per"
            f" {options.memory_resource_per}"
        )
    else:
        yield "        and nothing is requested of the grid for it (memory-resource)"
    if added:
        yield f"this site adds to the request: {added}"
