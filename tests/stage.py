"""A real scheduler and bootstrap server in the test's loop, and real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from distributed import Client, Scheduler
from distributed.protocol import deserialize
from distributed.protocol.pickle import dumps
from distributed.security import Security

from dask_gridengine.bootstrap.certificates import worker_identity
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    ExitReport,
    Hello,
    TLSIdentity,
)
from dask_gridengine.bootstrap.server import BootstrapServer
from tests.samples import allocation
from tests.waiting import until


@dataclass(kw_only=True)
class Node:
    """``python -m dask_gridengine.node``, started as the grid starts it."""

    process: subprocess.Popen[bytes]
    log: Path

    async def ended(self, timeout: float = 20) -> int:
        """Its exit status, negative for a signal."""
        await until(
            lambda: self.process.poll() is not None,
            "the node's end",
            timeout,
            self.text,
        )
        return int(self.process.returncode)

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def last_line(self) -> str:
        return self.text().splitlines()[-1]


@dataclass(kw_only=True)
class Stage:
    """One cluster as its nodes see it; a test changes the answers and allocations."""

    folder: Path
    scheduler: Scheduler
    server: BootstrapServer = field(init=False)
    tls: TLSIdentity | None = None
    #: Fields of the nodes' allocations that differ from the sample's.
    changes: dict[str, Any] = field(default_factory=dict)
    answer: Callable[[Hello], Answer] = field(init=False)
    hellos: list[Hello] = field(default_factory=list)
    reports: list[ExitReport] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    tmp: Path = field(init=False)  # the nodes' TMPDIR

    def __post_init__(self) -> None:
        # Not in `folder`: Unix sockets have short names, and tests' folders long ones.
        self.tmp = Path(tempfile.mkdtemp(prefix="node-"))
        self.answer = self.allocate
        self.server = BootstrapServer(
            on_hello=self._on_hello, on_exit_report=self.reports.append
        )

    def _on_hello(self, hello: Hello) -> Answer:
        self.hellos.append(hello)
        return self.answer(hello)

    def allocate(self, hello: Hello) -> Allocation:
        fields: dict[str, Any] = {
            "process_token": hello.process_token,
            "bootstrap_address": hello.via,
            "name": f"ge-{hello.index}",
            "scheduler": self.scheduler.address,
            "death_timeout": 20.0,
            "drain_timeout": 10.0,
            "working_directory": str(self.folder),
            "tls": self.tls,
            **self.changes,
        }
        return allocation(**fields)

    def connect(self, **changes: Any) -> Path:
        """Write the connection file, in place of an earlier one; its path."""
        (self.folder / "connection.json").unlink(missing_ok=True)
        fields: dict[str, Any] = {
            "cluster": "dask-x",
            "addresses": (f"127.0.0.1:{self.server.port}",),
            "server_key": self.server.keys.public,
            "node_keys": self.server.node_keys,
            "timeout": 10.0,
            **changes,
        }
        return Connection(**fields).write(self.folder)

    def start_node(self, index: int = 1, **environment: str) -> Node:
        """Start a node, its log in a file, in a process group of its own."""
        log = self.folder / f"12.{index}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "dask_gridengine.node"),
                    str(self.folder / "connection.json"),
                ],
                cwd="/",
                env={
                    **os.environ,
                    "JOB_ID": "12",
                    "SGE_TASK_ID": str(index),
                    "NSLOTS": "1",
                    "TMPDIR": str(self.tmp),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.nodes.append(Node(process=process, log=log))
        return self.nodes[-1]

    async def worker(self, name: str = "ge-1") -> str:
        """Wait until this worker, and its Nanny, are up; the worker's address.

        A Nanny is up some milliseconds after its worker has registered.
        """

        def registered() -> str | None:
            for state in self.scheduler.workers.values():
                if state.name == name:
                    return str(state.address)
            return None

        address: str = await until(registered, f"worker {name}", 20, self._logs)
        while await self._status(address) != "running":
            await asyncio.sleep(0.01)
        return address

    async def _status(self, address: str) -> str:
        """The status of the Nanny or Worker of a node."""

        def status(dask_worker: Any) -> str:
            return str(dask_worker.status.name)

        answers = await self.scheduler.broadcast(
            msg={"op": "run", "function": dumps(status)},
            workers=[address],
            nanny=self.changes.get("nanny", True),
        )
        result = answers[address]["result"]
        return str(deserialize(result.header, result.frames))

    async def exit_report(self) -> ExitReport:
        """Wait for the first exit report."""
        await until(lambda: self.reports, "an exit report", 20, self._logs)
        return self.reports[0]

    def _logs(self) -> list[str]:
        return [node.text() for node in self.nodes]

    async def aclose(self) -> None:
        for node in self.nodes:
            node.process.kill()
            node.process.wait()
        # Its fork server and resource tracker notice, and clean up.
        await until(
            lambda: not any(_group(node.process.pid) for node in self.nodes),
            "the end of all processes of the nodes",
            10,
            lambda: [_group(node.process.pid) for node in self.nodes],
        )
        await self.server.aclose()
        shutil.rmtree(self.tmp, ignore_errors=True)


def _group(leader: int) -> list[int]:
    """Processes of a node that has ended; zombies wait only for their new parent."""
    found = []
    for process in psutil.process_iter(["status"]):
        with contextlib.suppress(OSError):
            if os.getpgid(process.pid) == leader:
                found.append(process)
    return [p.pid for p in found if p.info["status"] != psutil.STATUS_ZOMBIE]


@contextlib.asynccontextmanager
async def stage(
    folder: Path, *, security: Security | None = None, **changes: Any
) -> AsyncIterator[Stage]:
    """A cluster without workers; `changes` are of the allocations.

    Its connection file is written; `Stage.connect` writes another one.
    """
    async with Scheduler(
        host="127.0.0.1",
        port=0,
        dashboard=False,
        dashboard_address=":0",  # even so, it has a port for the health page
        protocol="tls" if security else "tcp",
        security=security or Security(),
    ) as scheduler:
        tls = worker_identity(security) if security else None
        made = Stage(folder=folder, scheduler=scheduler, changes=changes, tls=tls)
        made.server.start("127.0.0.1")
        made.connect()
        try:
            yield made
        finally:
            await made.aclose()


@contextlib.asynccontextmanager
async def client_of(
    stage: Stage, security: Security | None = None
) -> AsyncIterator[Client]:
    async with Client(
        stage.scheduler.address,
        asynchronous=True,
        security=security,
        set_as_default=False,
    ) as client:
        yield client
