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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_gridengine.cli.doctor import grid_checks, node_checks
from dask_gridengine.cli.doctor.finding import Findings, Status
from dask_gridengine.cli.doctor.report import (
    TextReport,
    as_json,
    profile_text,
    settings_of,
    summary,
)
from dask_gridengine.cli.doctor.trial import Trial, make_directories
from dask_gridengine.options import Options

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
START_SECONDS = 90.0  # for the grid to take the array


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
    FileExistsError
        If there is a file at `profile`, which may be written by hand.
    """
    options = Options.resolve(given)
    # The findings say what is wrong; log lines would be printed among them.
    for name in ("distributed", "dask_gridengine"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="distributed")
    report = None if json else TextReport(sys.stdout)
    findings = Findings(report.show if report else _ignore)
    progress = report.progress if report else _ignore
    examination = _Examination(
        findings=findings,
        progress=progress,
        options=options,
        given=given,
        count=count,
        timeout=timeout,
    )
    stopped = asyncio.run(_until_signal(examination.run()))
    end, text = summary(findings, interrupted=bool(stopped)), ""
    settings = settings_of(findings, given)
    if stopped or findings.worst is Status.FAIL:
        if profile is not None:
            end += "\nNo profile was written: its settings would be unchecked."
    elif profile is not None:
        profile.parent.mkdir(parents=True, exist_ok=True)
        with profile.open("x") as file:
            file.write(profile_text(settings))
        end += f"\nThe site's profile is in {profile}."
    elif not all(setting.optional for setting in settings):
        end += "\nTo keep the profile below: --profile FILE."
        text = profile_text(settings)
    if report:
        report.close(end, text)
    else:
        print(as_json(findings, end, text))
    if stopped:
        return 128 + stopped
    return 1 if findings.worst is Status.FAIL else 0


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


@dataclass(frozen=True, kw_only=True)
class _Examination:
    findings: Findings
    progress: Callable[[str], object]
    options: Options
    given: Mapping[str, Any]
    count: int
    timeout: float

    async def run(self) -> None:
        """Make all checks; those that would only repeat a failure are skipped."""
        findings, options = self.findings, self.options
        names = ["directory here", "cluster", *node_checks.CHECKS]
        launcher = "process"
        if grid_checks.expects_grid(os.environ, options):
            self.progress("checking the grid")
            good = await grid_checks.check_grid(findings, options, os.environ)
            if grid_checks.other_grid(os.environ) is None:
                names = [*grid_checks.NAMES, *names]
            launcher = "drmaa"
        else:
            good = findings.add("library", grid_checks.no_grid(options))
        if good:
            self.progress("starting a cluster")
            await self._try_cluster(launcher)
        findings.skip_rest(names)

    async def _try_cluster(self, launcher: str) -> None:
        findings, options = self.findings, self.options
        async with AsyncExitStack() as stack:
            made: dict[str, Path] = {}
            directories = make_directories(options, made, stack)
            if not await findings.check("directory here", directories):
                return
            given = {**self.given, "launcher": launcher, **made}
            trial = Trial(options, given, count=self.count)
            if not await findings.check("cluster", trial.start(stack), START_SECONDS):
                return
            await trial.wait(self.timeout, self.progress)
            self.progress("asking the nodes for reports")
            results = await trial.results()
            for name, finding in node_checks.findings(results, options, self.timeout):
                findings.add(name, finding)
            self.progress("closing the cluster")
