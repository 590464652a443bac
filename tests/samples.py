"""Messages with every field filled in; a test changes the one it is about."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from dask_gridengine.bootstrap.messages import Allocation, ExitReport, Hello
from dask_gridengine.net.ports import Ports, is_free
from dask_gridengine.worker.job_resources import versions


def hello(**changes: Any) -> Hello:
    fields: dict[str, Any] = {
        "job": "12",
        "index": 1,
        "submission_id": "",
        "process_token": "0123456789abcdef",
        "host": "node1",
        "pid": 4242,
        "slots": 1,
        "slots_elsewhere": 0,
        "parallel_environment": "",
        "prologue": [],
        "memory": 0,
        "host_memory": 8 * 2**30,
        "host_cpus": 4,
        "age": 0.5,
        "queue": "all.q",
        "notify": 10.0,
        "versions": versions(),
        "via": "10.0.0.1:4711",
        "tried": {"10.0.0.1:4711": "connected"},
    }
    return Hello(**{**fields, **changes})


def allocation(**changes: Any) -> Allocation:
    fields: dict[str, Any] = {
        "process_token": "0123456789abcdef",
        "bootstrap_address": "10.0.0.1:4711",
        "name": "ge-0",
        "scheduler": "tls://10.0.0.1:8786",
        "processes": 1,
        "nthreads": 1,
        "memory_limit": 2**30,
        "death_timeout": 60.0,
        "drain_timeout": 30.0,
        "nanny": True,
        "start_method": "fork",
        "working_directory": "/",
        "import_path": [],
        "local_directory": "",
        "environment": {"OMP_NUM_THREADS": "1"},
        "config": {},
        "options": {},
        "interface": "",
        "port": "",
        "nanny_port": "",
        "tls": None,
    }
    return Allocation(**{**fields, **changes})


def exit_report(**changes: Any) -> ExitReport:
    fields: dict[str, Any] = {
        "job": "12",
        "index": 1,
        "submission_id": "",
        "process_token": "0123456789abcdef",
        "host": "node1",
        "cause": "finished",
        "detail": "",
        "exit_status": 0,
        "signal": None,
        "peak_memory": 2**20,
        "memory_limit": 2**30,
        "stderr": "",
    }
    return ExitReport(**{**fields, **changes})


@contextlib.contextmanager
def two_in_a_row() -> Iterator[tuple[int, Ports]]:
    """A port that is held, by this process, and the range of it and the next one."""
    while True:
        with socket.create_server(("", 0)) as holder:
            port = int(holder.getsockname()[1])
            if port < 65535 and is_free("", port + 1):
                yield port, Ports(first=port, last=port + 1)
                return
