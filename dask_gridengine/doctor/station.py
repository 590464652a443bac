"""The doctor's side of a probe: a door and a TLS listener, as of a cluster.

It listens where a cluster with these options would, tells its nodes the addresses a
cluster would tell them, and keeps what they say.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from dask_gridengine.bootstrap.certificates import security_of, worker_identity
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import Allocation, Answer, ExitReport, Hello
from dask_gridengine.bootstrap.server import BootstrapServer
from dask_gridengine.doctor.node_report import NodeReport
from dask_gridengine.doctor.on_node import Settings
from dask_gridengine.doctor.talk import listen
from dask_gridengine.net.addresses import join
from dask_gridengine.net.ports import none_free
from dask_gridengine.nodes.endpoints import contact, doors, listen_at, offers
from dask_gridengine.options import Options

PATIENCE = 15.0  # seconds a node looks for the door


@dataclass(kw_only=True)
class Station:
    """Where nodes find us, and what they have said at the door.

    Attributes
    ----------
    door, scheduler
        ``host:port`` each, as nodes are told.
    """

    admission: tuple[str, ...]
    scheduler: tuple[str, ...]
    on_word: Callable[[], object]  # somebody has said something
    #: By the node's place in the probe: when it began, and its report by farewell.
    arrived: dict[int, float] = field(default_factory=dict)
    told: dict[int, NodeReport] = field(default_factory=dict)

    def exit_report(self, exit_report: ExitReport) -> None:
        """Take a report that came by the door."""
        report = NodeReport.parse(exit_report.detail)
        if report is not None:
            self.told[exit_report.index] = report
            self.on_word()

    def hello(self, hello: Hello) -> None:
        """Take note of a node."""
        self.arrived.setdefault(hello.index, time.monotonic() - hello.age)
        self.on_word()


@asynccontextmanager
async def open_station(
    options: Options,
    kind: str,
    dialect: str,
    directory: Path,
    on_word: Callable[[], object],
) -> AsyncIterator[Station]:
    """Listen, and write what nodes must know into the probe's directory.

    Parameters
    ----------
    options
        What the user asked for.
    kind
        The launcher's.
    dialect
        Of the grid, by its name.
    directory
        The probe's own, private one.
    on_word
        Called when a node has said something.

    Raises
    ------
    OptionError, OSError
        If one cannot listen as the options say.
    """
    at = listen_at(options, kind)
    host, offered = doors(at)
    security = security_of(options.security, options.name)
    stations: list[Station] = []
    server = BootstrapServer(
        on_hello=lambda hello: _answer(hello, stations[0], make),
        on_farewell=lambda exit_report: stations[0].exit_report(exit_report),
    )

    def make(hello: Hello) -> Allocation:
        return _allocation(options, hello, contact(options, scheduler, hello.via), tls)

    try:
        server.start(host, options.bootstrap_port)
        if options.scheduler_port is not None:
            _refuse_taken(options, host)
        async with listen(host, options.scheduler_port, security) as port:
            protocol = "tls" if security.require_encryption else "tcp"
            # What `contact` reads of a scheduler.
            scheduler = cast(
                Any,
                SimpleNamespace(
                    address=f"{protocol}://{join(offered[0], port)}",
                    contact_address=options.scheduler_options.get("contact_address"),
                ),
            )
            tls = worker_identity(security)
            admission = offers(options, offered, server.port)
            reached = [contact(options, scheduler, via) for via in admission]
            places = tuple(dict.fromkeys(c.partition("://")[2] for c in reached))
            stations.append(
                Station(admission=admission, scheduler=places, on_word=on_word)
            )
            _write(options, dialect, server, stations[0], directory)
            yield stations[0]
    finally:
        await server.aclose()


def _answer(
    hello: Hello, station: Station, make: Callable[[Hello], Allocation]
) -> Answer:
    station.hello(hello)
    return make(hello)


def _refuse_taken(options: Options, host: str) -> None:
    from dask_gridengine.net.ports import is_free

    ports = options.scheduler_port
    if ports is not None and not any(is_free(host, port) for port in ports):
        raise none_free("scheduler_port", ports)


def _write(
    options: Options,
    dialect: str,
    server: BootstrapServer,
    station: Station,
    directory: Path,
) -> None:
    connection = Connection(
        cluster=options.name,
        addresses=station.admission,
        server_key=server.keys.public,
        node_keys=server.node_keys,
        timeout=PATIENCE,
        dialect=dialect,
    )
    connection.write(directory)
    settings = Settings(
        scheduler=[*station.scheduler],
        local_directory=options.local_directory or "",
        dialect=dialect,
    )
    settings.write(directory / "logs")


def _allocation(options: Options, hello: Hello, scheduler: str, tls: Any) -> Allocation:
    """What a node of a cluster would be told, as far as the probe goes into it."""
    return Allocation(
        process_token=hello.process_token,
        bootstrap_address=hello.via,
        name="doctor",
        processes=1,
        scheduler=scheduler,
        nthreads=1,
        memory_limit=0,
        death_timeout=options.death_timeout,
        drain_timeout=options.drain_timeout,
        nanny=False,
        start_method="fork",
        working_directory=os.getcwd(),
        import_path=[],
        local_directory=options.local_directory or "",
        environment={},
        config={},
        options={},
        interface=options.worker_interface or "",
        port=str(options.worker_port or ""),
        nanny_port="",
        tls=tls,
    )
