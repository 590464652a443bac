"""Render what is submitted for a node as a script for ``qsub``."""

from __future__ import annotations

from collections.abc import Iterator

from dask_gridengine.formatting import format_size
from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.options import Options


def render(
    options: Options, request: NodeRequest, launcher: Launcher, added: str = ""
) -> str:
    """Render one node as a script: ``qsub -t 1-N`` of it starts the same nodes.

    `added` is what the site adds to the request, as options of qsub.
    """
    shell, _, script = request.command
    return "\n".join(
        [
            f"#!{shell}",
            f"# started by: {launcher.description}",
            *(f"# {remark}" for remark in _remarks(options, added)),
            *_directives(request),
            script,
            "",
        ]
    )


def _directives(request: NodeRequest) -> Iterator[str]:
    yield f"#$ -N {request.name}"
    yield f"#$ -S {request.command[0]}"
    yield "#$ -wd /"
    yield "#$ -o /dev/null -j y"
    for key, value in request.environment.items():
        yield f"#$ -v {key}={value}"
    if request.native:
        yield f"#$ {request.native}"


def _remarks(options: Options, added: str) -> Iterator[str]:
    """Slots and memory mean different things to Dask and to Grid Engine."""
    environment = options.parallel_environment
    slots = f"{options.cores} slot{'s' if options.cores > 1 else ''} of the grid"
    through = f", through -pe {environment}" if environment else ""
    yield f"cores: {options.cores} threads for the worker = {slots}{through}"
    if options.memory is None:
        yield "memory: the worker's limit is its slots' share of its host's memory"
    else:
        yield f"memory: the worker's limit is {format_size(options.memory)}"
    if options.memory and options.memory_resource:
        yield (
            f"        and {options.memory_resource} is requested for it, charged per"
            f" {options.memory_resource_per}"
        )
    else:
        yield "        and nothing is requested of the grid for it (memory-resource)"
    if added:
        yield f"this site adds to the request: {added}"
