"""A real array of a few nodes that look around and tell, from submission to end."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dask_gridengine.batch.base import (
    DIRECTORY,
    SUBMISSION,
    BatchSystem,
    write_directory,
)
from dask_gridengine.blocking import in_thread
from dask_gridengine.doctor import herald
from dask_gridengine.doctor.node_report import NodeReport
from dask_gridengine.doctor.on_node import RUN_SECONDS
from dask_gridengine.doctor.outcome import ON_HOST, Outcome
from dask_gridengine.doctor.station import Station
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.nodes.job_request import request
from dask_gridengine.options import Options

MARK = "doctor"  # of its submission, as a cluster's nodes carry one
LOG_LINES = 5  # the last ones, which are kept
LOOK_SECONDS = 0.2  # between looks into the directory
LATE_SECONDS = 15.0  # a node's end may be noticed so late, and its files seen
ACCOUNT_SECONDS = 20.0  # Grid Engine writes its records every 15 s


@dataclass(kw_only=True)
class Probe:
    """The nodes that were asked for, and what is heard of them.

    Parameters
    ----------
    launcher
        Starts them.
    station
        Where they find us.
    directory
        The probe's own.
    """

    launcher: Launcher
    station: Station
    directory: Path
    outcomes: dict[NodeId, Outcome] = field(default_factory=dict)

    async def submit(self, options: Options, count: int) -> Sequence[NodeId]:
        """Queue the array.

        Raises
        ------
        LauncherError, OptionError
        """
        addresses = [*self.station.admission, *self.station.scheduler]
        launcher, directory = self.launcher, self.directory
        request = probe_request(
            options, launcher.kind, launcher.dialect, directory, addresses
        )
        self._began = time.monotonic()
        nodes = await self.launcher.submit(request, count)
        self.outcomes = {node: Outcome(node=node) for node in nodes}
        return nodes

    def ended(self, end: EndNotice) -> None:
        """Take an end notice."""
        outcome = self.outcomes.get(end.node)
        if outcome is None:
            return
        outcome.end = end
        if outcome.waited is None and end.ran is not None:
            waited = time.monotonic() - self._began - end.ran
            outcome.waited = max(0.0, waited)

    async def watch(
        self, timeout: float, changed: asyncio.Event, note: Callable[[str], object]
    ) -> None:
        """Wait until all have told, or ended, or `timeout` seconds in the queue.

        Parameters
        ----------
        timeout
            Seconds; what has started by then may go on.
        changed
            Set by whoever has news.
        note
            Given a line on how it stands.
        """
        deadline = self._began + timeout
        while not all(outcome.over for outcome in self.outcomes.values()):
            note(self._summary(deadline))
            await self._look()
            if time.monotonic() > self._last_moment(deadline):
                break
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(changed.wait(), LOOK_SECONDS)
            changed.clear()
        await self._look()
        await asyncio.gather(*map(self._post_mortem, self.outcomes.values()))

    def _last_moment(self, deadline: float) -> float:
        """Until when to wait: those that run have their time, too."""
        running = [
            self._began + outcome.waited + RUN_SECONDS + LATE_SECONDS
            for outcome in self.outcomes.values()
            if outcome.waited is not None and not outcome.over
        ]
        queued = any(o.waited is None and not o.over for o in self.outcomes.values())
        return max([*running, deadline] if queued else running, default=deadline)

    def _summary(self, deadline: float) -> str:
        started = sum(o.waited is not None for o in self.outcomes.values())
        if started == len(self.outcomes):
            return f"{started} nodes look around"
        left = max(0.0, deadline - time.monotonic())
        return (
            f"{started} of {len(self.outcomes)} nodes have started;"
            f" waiting for up to {left:.0f} s"
        )

    async def _look(self) -> None:
        texts = await in_thread(_read_reports, self.directory / "logs")
        for number, outcome in enumerate(self.outcomes.values(), 1):
            report = NodeReport.parse(texts.get(number, ""))
            self._take(outcome, self.station.told.get(number) or report)
            began = self.station.arrived.get(number)
            if began is not None:
                outcome.waited = max(0.0, began - self._began)

    def _take(self, outcome: Outcome, report: NodeReport | None) -> None:
        if report is None:
            return
        if outcome.report is None or outcome.report.clock != report.clock:
            outcome.report, outcome.seen = report, time.time()
        if outcome.waited is None:
            # Less its age, but that was taken when its report began.
            now = time.monotonic() - self._began
            outcome.waited = max(0.0, now - report.age - LOOK_SECONDS)

    async def _post_mortem(self, outcome: Outcome) -> None:
        """Of one that ended without a word: its log, and the accounting."""
        if outcome.done or outcome.end is None:
            return
        number = 1 + list(self.outcomes).index(outcome.node)
        arrays = self.launcher.dialect.arrays
        name = str(outcome.node) if arrays else f"{MARK}.{number}"
        outcome.log = await in_thread(_read_log, self.directory / "logs", name)
        if not outcome.host:
            outcome.account = await self.launcher.account(outcome.node, ACCOUNT_SECONDS)


def probe_request(
    options: Options,
    kind: str,
    dialect: BatchSystem,
    directory: Path,
    addresses: Sequence[str],
) -> NodeRequest:
    """What is asked of the grid: the user's options, another program.

    Parameters
    ----------
    options
        The user's.
    kind
        The launcher's.
    dialect
        Of the grid.
    directory
        The probe's own.
    addresses
        ``host:port`` to try for whoever does not see the directory.
    """
    logs = shlex.quote(str(directory / "logs"))
    log = f"{logs}/{dialect.log_name}.log"
    # Unlike a node's, this goes on without a log: why there is none is the question.
    start = (
        f"(umask 077; : >>{log}) 2>/dev/null && exec >>{log} 2>&1"
        f" && echo '{ON_HOST}'$(uname -n)"
    )
    text = Path(herald.__file__).read_text()
    words = [options.python, "-c", text, str(directory), *addresses]
    lines = [start, *options.job_script_prologue, f"exec {shlex.join(words)}"]
    command = ("/bin/sh", "-c", "\n".join(lines))
    asked = request(options, command, kind, dialect)
    environment = {
        **asked.environment,
        SUBMISSION: MARK,
        DIRECTORY: write_directory(directory),
    }
    name = f"doctor-{options.name}"[:64]
    return replace(asked, name=name, environment=environment)


def _read_reports(logs: Path) -> dict[int, str]:
    found = {}
    with contextlib.suppress(OSError):
        for path in logs.glob("*.report"):
            with contextlib.suppress(OSError, ValueError):
                found[int(path.stem)] = path.read_text()
    return found


def _read_log(logs: Path, name: str) -> str:
    with contextlib.suppress(OSError):
        text = (logs / f"{name}.log").read_text(errors="replace")
        first, *lines = text.strip().splitlines() or [""]
        return "\n".join([first, *lines[-LOG_LINES:]])
    return ""
