"""The request for one node: its command, and the submit options."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from pathlib import Path

import dask

from dask_gridengine.batch.base import BatchSystem, ResourceRequest
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.nodes.prologue import shell_lines
from dask_gridengine.options import Options

logger = logging.getLogger(__name__)


def request(
    options: Options, command: tuple[str, ...], kind: str, batch_system: BatchSystem
) -> NodeRequest:
    """Make the request; OptionError if the options contradict each other.

    Local processes get no submit options. What the grid would refuse is refused there,
    too, so that a script can be tried without one.
    """
    native = submit_options(options, kind, batch_system)
    resources = _resource_request(options)
    unsupported = batch_system.unsupported_options(resources)
    if kind == "drmaa" and unsupported:
        logger.warning(
            "%s does not support %s by its DRMAA; use job_extra_directives",
            batch_system.title,
            ", ".join(unsupported),
        )
    return NodeRequest(
        name=options.name,
        command=command,
        environment=_before_python(),
        native=native if kind == "drmaa" else "",
        slots=options.cores,
        walltime=options.walltime,
    )


def submit_options(options: Options, kind: str, batch_system: BatchSystem) -> str:
    """Render the submit options of a node; OptionError if they contradict each other.

    For local processes cores need no parallel environment.
    """
    resources = _resource_request(options)
    if kind == "process" and not options.parallel_environment:
        resources = replace(resources, slots=1)
    return batch_system.submit_options(resources)


def _resource_request(options: Options) -> ResourceRequest:
    return ResourceRequest(
        queue=options.queue,
        project=options.project,
        walltime=options.walltime,
        resource_spec=options.resource_spec,
        parallel_environment=options.parallel_environment,
        slots=options.cores,
        memory_resource=options.memory_resource,
        memory=options.memory,
        memory_resource_per=options.memory_resource_per,
        extra_directives=options.job_extra_directives,
    )


def command(
    options: Options, connection_file: Path, log_directory: Path, log_name: str
) -> tuple[str, ...]:
    """Make the argv of a node: a shell that opens the log, then Python.

    The shell opens the log, not the grid: if the directory is missing, Grid Engine puts
    the job into Eqw for ever, while the shell ends with a status. `log_name` is without
    ".log", and may hold shell variables that the node has.
    """
    log = f"{shlex.quote(str(log_directory))}/{log_name}.log"
    failed = f"exit {EXIT_STATUS[Cause.NO_LOG]}"
    # An empty file can be created where the disk or a quota is full, and then Dask's
    # worker would fail when it first writes to stderr.
    start = (
        f"(umask 077; : >>{log}) 2>/dev/null || {failed}; exec >>{log} 2>&1;"
        f' [ -z "$HOSTNAME" ] || echo "on $HOSTNAME:" || {failed}'
    )
    node = (
        f"exec {shlex.quote(options.python)} -m dask_gridengine.node"
        f" {shlex.quote(str(connection_file))}"
    )
    lines = shell_lines(options.job_script_prologue)
    between = "\n".join(["", *lines, ""]) if lines else "; "
    return ("/bin/sh", "-c", f"{start}{between}{node}")


def _before_python() -> dict[str, str]:
    """Return the variables that have an effect only if set before Python starts."""
    environ = dask.config.get("distributed.nanny.pre-spawn-environ", {}) or {}
    early = ("MALLOC_TRIM_THRESHOLD_",)
    found = {key: str(environ[key]) for key in early if environ.get(key) is not None}
    # Dask's number (dask/distributed#8400): all workers hash strings alike.
    return {"PYTHONHASHSEED": "6640", **found}
