"""Makes all checks in order: the grid's configuration, then a trial cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from dask_gridengine.cli.doctor.finding import Findings, Status, worst
from dask_gridengine.cli.doctor.grid_checks import access, check_grid
from dask_gridengine.cli.doctor.grid_checks.commands import GridCommands
from dask_gridengine.cli.doctor.grid_checks.queues import running_tasks
from dask_gridengine.cli.doctor.node_checks import CHECKS, NodeChecks
from dask_gridengine.cli.doctor.profile import render, settings_of, write
from dask_gridengine.cli.doctor.report import TextReport, as_json, summary
from dask_gridengine.cli.doctor.trial import NodeResult, Trial, make_directories
from dask_gridengine.nodes.registry import NodeState
from dask_gridengine.options import Options

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_SECONDS = 90.0  # for the grid to take the array
#: If one of these has failed, so would the trial.
BEFORE_TRIAL = (
    "cell",
    "library",
    "qmaster",
    "submit host",
    "options",
    "queues",
    "parallel env.",
    "memory",
)


def run(
    given: Mapping[str, Any],
    *,
    count: int,
    timeout: float,
    profile: Path | None,
    json: bool,
) -> int:
    """Examine this site and print a report; returns the exit status.

    Raises
    ------
    OptionError
        If an option has no valid value; nothing was checked.
    """
    options = Options.resolve(given)
    # The findings say what is wrong; log lines would be printed among them.
    for name in ("distributed", "dask_gridengine"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="distributed")
    report = None if json else TextReport(sys.stdout)
    findings = Findings(report.show if report else _ignore)
    progress = report.progress if report else _ignore
    examination = _examine(findings, progress, options, given, count, timeout)
    stopped = asyncio.run(_until_signal(examination))
    status = worst(findings.all)
    end = summary(findings.all, interrupted=bool(stopped))
    text = ""
    if not stopped and status is not Status.FAIL:
        settings = settings_of(findings.all, given)
        text = render(settings)
        if profile is not None:
            write(profile, text)
            end, text = f"{end}\nThe site's profile is in {profile}.", ""
        elif all(setting.optional for setting in settings):
            text = ""
        else:
            end += "\nTo keep the profile below: --profile FILE."
    elif profile is not None:
        end += "\nNo profile was written: its settings would be unchecked."
    if report:
        report.close(end, text)
    else:
        print(as_json(findings.all, end, text))
    if stopped:
        return 128 + stopped
    return 1 if status is Status.FAIL else 0


def _ignore(_: object) -> None:
    """Show nothing."""


async def _until_signal(examination: Awaitable[None]) -> int:
    """Run it; cancel it at the first of `SIGNALS` and return that number."""
    task = asyncio.ensure_future(examination)
    received: list[int] = []

    def stop(number: int) -> None:
        # Only once: a second cancellation would end the closing of the cluster.
        if not received:
            task.cancel()
        received.append(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup sets SIGHUP
            asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        await task
    except asyncio.CancelledError:
        if not received:
            raise
    return received[0] if received else 0


async def _examine(
    findings: Findings,
    progress: Callable[[str], object],
    options: Options,
    given: Mapping[str, Any],
    count: int,
    timeout: float,
) -> None:
    environment = dict(os.environ)
    grid = access.expects_grid(environment, options)
    progress("checking the grid")
    if not grid:
        findings.add(access.no_grid(environment, options))
    elif other := access.other_grid(environment):
        findings.add(other)
        await findings.check("library", lambda: access.check_library(environment))
    else:
        await check_grid(findings, options, environment)
    async with AsyncExitStack() as stack:
        progress("starting a cluster")
        directories: dict[str, Path] = {}
        await findings.check(
            "directory here",
            lambda: make_directories(options, directories, stack),
            needs=BEFORE_TRIAL,
        )
        if failure := findings.failure_of(["directory here"]):
            findings.skip(["cluster", *CHECKS], failure)
            return
        launcher = {"launcher": "drmaa" if grid else "process"}
        trial = Trial(options, {**given, **launcher, **directories}, count=count)
        await findings.check(
            "cluster", lambda: trial.start(stack), timeout=START_SECONDS
        )
        if findings.failure_of(["cluster"]):
            findings.skip(CHECKS, "cluster")
            return
        await trial.wait(timeout, progress)
        progress("asking the nodes for reports")
        results = await trial.results()
        checks = NodeChecks(
            results=results,
            options=options,
            timeout=timeout,
            running=await _running(results, environment) if grid else {},
        )
        for finding in checks.findings():
            findings.add(finding)
        progress("closing the cluster")


async def _running(
    results: list[NodeResult], environment: Mapping[str, str]
) -> dict[int, str]:
    """Find nodes that run for the grid but have not connected."""
    queued = [r.row.id.job for r in results if r.row.state is NodeState.QUEUED]
    if not queued:
        return {}
    return await running_tasks(GridCommands(environment), queued[0])
