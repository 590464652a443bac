"""What a probed node looks at: its way to us, its Python, its disk and its clock.

Each step is bounded in time and written down before it begins, so that one that hangs
is known by name. Dask is imported only by the step that measures it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_gridengine.bootstrap.client import ask, send_exit_report
from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection
from dask_gridengine.bootstrap.messages import Allocation, ExitReport
from dask_gridengine.doctor.node_report import SETTINGS_NAME, NodeReport
from dask_gridengine.doctor.scratch import measure
from dask_gridengine.errors import GridEngineError
from dask_gridengine.net.connect_probe import CONNECTED, ConnectProbe
from dask_gridengine.worker import job_resources as granted

RUN_SECONDS = 90  # after which a node that hangs ends itself
KNOCK_SECONDS = 3.0  # for an address to accept


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the doctor tells its nodes; none of it is a secret."""

    scheduler: list[str]  # where TLS listens, host:port each
    local_directory: str  # "" is the job's TMPDIR
    dialect: str  # of the grid

    def write(self, logs: Path) -> None:
        """Into the probe's log directory."""
        (logs / SETTINGS_NAME).write_text(json.dumps(vars(self)))

    @classmethod
    def read(cls, logs: Path) -> Settings:
        """As `write` wrote them."""
        return cls(**json.loads((logs / SETTINGS_NAME).read_text()))


class Examination:
    """One node's report, and the file it is kept in."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._logs = directory, directory / "logs"
        self._settings = Settings.read(self._logs)
        self._hello = hello = granted.hello(self._settings.dialect)
        self.report = NodeReport(
            job=hello.job,
            index=hello.index,
            host=hello.host,
            executable=sys.executable,
            versions=hello.versions,
            package=str(Path(__file__).parents[1]),
            queue=hello.queue,
            slots=hello.slots,
            memory=hello.memory,
            age=hello.age,
        )

    def run(self) -> None:
        """All steps; what one raises is in the report."""
        settings = self._settings
        self._at("connection file")
        connection = self._read_connection()
        if connection is not None:
            self._at("addresses")
            self._knock(connection, settings)
            self._at("bootstrap")
        allocation = None
        if connection is not None and self._reached(*connection.addresses):
            allocation = self._ask(connection)
        self._at("import of dask")
        self._import()
        self._at("scratch directory")
        self._measure_scratch(settings)
        self._at("TLS")
        self._talk(allocation, settings)
        self._at("done")
        if connection is not None and allocation is not None:
            self._say_farewell(connection, allocation)

    def _at(self, step: str) -> None:
        """Write down what comes next; renamed, so that nobody reads half of it."""
        self.report.step, self.report.clock = step, time.time()
        path = self._logs / f"{self.report.index}.report"
        with contextlib.suppress(OSError):  # the farewell will carry it
            new = path.with_suffix(".new")
            new.write_text(self.report.text())
            new.rename(path)

    def _read_connection(self) -> Connection | None:
        try:
            return Connection.read(self._directory / FILE_NAME)
        except GridEngineError as exc:
            self.report.connection = str(exc)
            return None

    def _knock(self, connection: Connection, settings: Settings) -> None:
        """Try every address, to the end: to reach one is not all that is asked."""
        knocks = ConnectProbe(
            [*connection.addresses, *settings.scheduler], KNOCK_SECONDS
        )
        for _ in knocks.connected():
            pass
        self.report.tried = knocks.answers()

    def _reached(self, *addresses: str) -> bool:
        return CONNECTED in [self.report.tried.get(address) for address in addresses]

    def _ask(self, connection: Connection) -> Allocation | None:
        began = time.monotonic()
        try:
            answer = ask(connection, self._hello)
        except GridEngineError as exc:
            self.report.curve_error = str(exc).splitlines()[0]
            return None
        self.report.curve = time.monotonic() - began
        if not isinstance(answer, Allocation):
            self.report.curve_error = f"the doctor said {answer.kind}"
            return None
        self.report.via = answer.bootstrap_address
        return answer

    def _import(self) -> None:
        began = time.monotonic()
        try:
            import dask_gridengine.worker.run  # noqa: F401 - with Dask, as a node does
        except Exception as exc:  # noqa: BLE001 - a broken package raises anything
            self.report.import_error = f"{type(exc).__name__}: {exc}"
        else:
            self.report.imported = time.monotonic() - began

    def _measure_scratch(self, settings: Settings) -> None:
        place = settings.local_directory or os.environ.get("TMPDIR")
        place = place or os.environ.get("TMP") or "/tmp"
        scratch = os.path.expanduser(os.path.expandvars(place))
        self.report.scratch = scratch
        measured = measure(scratch)
        self.report.scratch_free = measured.free
        self.report.scratch_speed = measured.speed
        self.report.scratch_error = measured.error

    def _talk(self, allocation: Allocation | None, settings: Settings) -> None:
        if allocation is None or self.report.import_error:
            return  # without the one there are no keys, without the other no Dask
        if not self._reached(allocation.scheduler.partition("://")[2]):
            return  # the addresses' line says so
        from dask_gridengine.doctor.talk import talk

        self.report.scheduler = allocation.scheduler
        try:
            said: dict[str, Any] = talk(allocation)
        except Exception as exc:  # noqa: BLE001 - of sockets, TLS and Dask's comms
            self.report.tls_error = f"{type(exc).__name__}: {exc}".rstrip(": ")
            return
        self.report.tls = said["seconds"]
        self.report.ahead, self.report.ahead_give = said["ahead"], said["give"]
        self.report.listening, self.report.back = said["listening"], said["back"]

    def _say_farewell(self, connection: Connection, allocation: Allocation) -> None:
        """The report once more, for a directory that we read but cannot write to."""
        exit_report = ExitReport(
            job=self.report.job,
            index=self.report.index,
            submission_id=self._hello.submission_id,
            process_token=self._hello.process_token,
            host=self.report.host,
            cause="finished",
            detail=self.report.text(),
            exit_status=None,
            signal=None,
            peak_memory=0,
            memory_limit=0,
            stderr="",
        )
        with contextlib.suppress(Exception):  # a reporter must never be what fails
            send_exit_report(connection, allocation.bootstrap_address, exit_report)


def main(directory: str) -> int:
    """Examine this node; returns its exit status."""
    signal.alarm(RUN_SECONDS)  # its default is to end us, whatever hangs
    Examination(Path(directory)).run()
    return 0
