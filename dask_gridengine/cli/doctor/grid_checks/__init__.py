"""Checks of Grid Engine's configuration with qconf, qselect, qstat and qsub."""

from __future__ import annotations

from collections.abc import Mapping

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.cli.doctor.finding import Check, Findings, failed
from dask_gridengine.cli.doctor.grid_checks import access
from dask_gridengine.cli.doctor.grid_checks.commands import CommandResult, GridCommands
from dask_gridengine.cli.doctor.grid_checks.limits import check_limits
from dask_gridengine.cli.doctor.grid_checks.memory import check_memory
from dask_gridengine.cli.doctor.grid_checks.parallel_environments import (
    check_parallel_environments,
)
from dask_gridengine.cli.doctor.grid_checks.queues import check_queues
from dask_gridengine.errors import OptionError
from dask_gridengine.launchers.drmaa.discovery import find_root
from dask_gridengine.nodes.job_request import request
from dask_gridengine.options import Options

COMMANDS_SECONDS = 60.0  # for a check with several commands, which have 10 s each


async def check_grid(
    findings: Findings, options: Options, environment: Mapping[str, str]
) -> None:
    """Make all checks of a Grid Engine."""
    commands = GridCommands(environment)
    await findings.check("cell", lambda: access.check_cell(environment))
    await findings.check(
        "library",
        lambda: access.check_library(environment),
        # Without SGE_ROOT both would have the same finding.
        needs=() if find_root(environment) else ("cell",),
    )
    await findings.check(
        "qmaster", lambda: access.check_qmaster(environment, commands), needs=("cell",)
    )
    native = _native(findings, options)
    user = access.user_name_or_id()
    verified = CommandResult(text="")
    if not findings.failure_of(["qmaster"]):
        verified = await commands.verify(native)
    checks: dict[str, Check] = {
        "submit host": lambda: access.check_submit_host(commands, verified),
        "queues": lambda: check_queues(commands, options, verified, user),
        "parallel env.": lambda: check_parallel_environments(commands, options, user),
        "memory": lambda: check_memory(commands, options, native),
        "limits": lambda: check_limits(commands, options, user),
    }
    for name, check in checks.items():
        needs = ["submit host" if name == "queues" else "qmaster"]
        await findings.check(name, check, needs=needs, timeout=COMMANDS_SECONDS)


def _native(findings: Findings, options: Options) -> str:
    """The submit options of a cluster with these options."""
    try:
        return request(options, (), "drmaa", GridEngine()).native
    except OptionError as exc:
        # Cores without a parallel environment: that check has better advice.
        if options.cores == 1 or options.parallel_environment:
            findings.add(failed("options", str(exc).splitlines()[0], "change it"))
        return ""
