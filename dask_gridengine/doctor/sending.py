"""What a probe needs, made in turn and taken away again: each is a check of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from dask_gridengine.blocking import in_thread
from dask_gridengine.bootstrap.connection_file import make_private_directory
from dask_gridengine.doctor.finding import Finding, failed, passed
from dask_gridengine.doctor.outcome import Outcome
from dask_gridengine.doctor.probe import Probe
from dask_gridengine.doctor.station import Station, open_station
from dask_gridengine.errors import SubmitError
from dask_gridengine.grid_types import EndNotice
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.drmaa.launcher import open_drmaa
from dask_gridengine.launchers.local.launcher import open_process
from dask_gridengine.options import Options

SESSION_SECONDS = 15.0  # for libdrmaa to have its session


class Sending:
    """Directory, launcher, station and probe of one examination.

    Parameters
    ----------
    options
        What a cluster would be asked for.
    kind
        The launcher's.
    stack
        Takes all of it away: nodes first, then the directory they write to.

    Attributes
    ----------
    news
        Set when a node has said something, or ended.
    """

    def __init__(self, options: Options, kind: str, stack: AsyncExitStack) -> None:
        self._options, self._kind, self._stack = options, kind, stack
        self._directory: Path | None = None
        self._launcher: Launcher | None = None
        self._station: Station | None = None
        self.probe: Probe | None = None
        self.news = asyncio.Event()

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of the nodes; empty where none were asked for."""
        return list(self.probe.outcomes.values()) if self.probe is not None else []

    @property
    def told_addresses(self) -> tuple[Sequence[str], Sequence[str]]:
        """Where nodes were told that the door is, and the scheduler."""
        if self._station is None:
            return (), ()
        return self._station.admission, self._station.scheduler

    async def make_directory(self) -> Finding:
        """The probe's own, in the shared one."""
        self._directory = await in_thread(self._make_directory)
        return passed(
            "directory here", f"{self._options.shared_directory} can be written to"
        )

    def _make_directory(self) -> Path:
        parent = self._options.shared_directory
        there = parent.exists()
        made = make_private_directory(parent, "doctor")
        self._stack.callback(_remove, made, None if there else parent)
        (made / "logs").mkdir(mode=0o700)
        return made

    async def open_launcher(self) -> Finding:
        """The session with Grid Engine, or the small grid of this host."""
        began = time.monotonic()
        if self._kind == "drmaa":
            opening = open_drmaa(
                self._on_end,
                cleanup=self._directory,
                timeout=SESSION_SECONDS,
            )
        else:
            opening = open_process(
                self._on_end, slots=self._options.slots, cleanup=self._directory
            )
        self._launcher = await opening
        self._stack.push_async_callback(self._launcher.aclose)
        took = time.monotonic() - began
        return passed("session", f"{self._launcher.description}, after {took:.1g} s")

    async def listen(self) -> Finding:
        """Where a cluster would."""
        assert self._directory is not None
        assert self._launcher is not None
        dialect = self._launcher.dialect.name
        opening = open_station(
            self._options, self._kind, dialect, self._directory, self.news.set
        )
        self._station = await self._stack.enter_async_context(opening)
        told = ", ".join(
            dict.fromkeys([*self._station.admission, *self._station.scheduler])
        )
        return passed("listening", f"nodes are told to come to {told}")

    async def submit(self, count: int) -> Finding:
        """Queue the array."""
        assert self._launcher is not None
        assert self._station is not None
        assert self._directory is not None
        self.probe = Probe(
            launcher=self._launcher, station=self._station, directory=self._directory
        )
        try:
            submitted = await self.probe.submit(self._options, count)
        except SubmitError as exc:
            return _refused(exc)
        many = f"{count} nodes" if count > 1 else "1 node"
        return passed("probe", f"{many} asked for as job {submitted[0].job}")

    def _on_end(self, end: EndNotice) -> None:
        if self.probe is not None:
            self.probe.ended(end)
        self.news.set()


def _remove(directory: Path, parent: Path | None) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if parent is not None:  # it was not there before us
        with contextlib.suppress(OSError):
            parent.rmdir()


def _refused(exc: SubmitError) -> Finding:
    words = [line.strip() for line in exc.reason.strip().splitlines()]
    return failed(
        "probe",
        f"the grid refused the array: {words[0]}",
        "change the options that Grid Engine names: queue, project, resource_spec,"
        " parallel_environment, memory_resource, job_extra_directives",
        *words[1:],
        f"asked for: {exc.count} nodes with {exc.native or '(no options)'}",
    )
