"""Other users of the grid cannot find out any secret."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
from collections.abc import Iterator

import pytest

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.client import request_allocation
from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection, CurveKeys
from dask_gridengine.bootstrap.messages import Rejected
from dask_gridengine.errors import BootstrapError
from tests.grid.conftest import Cell
from tests.samples import hello
from tests.stranger import try_connect

pytestmark = [pytest.mark.grid, pytest.mark.keeps_cluster]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngineCluster]:
    """A cluster with running and queued nodes for all tests of this file."""
    cell = Cell()
    slots = 2 * int(cell.run("qconf", "-sq", "all.q").split("slots")[1].split()[0])
    with GridEngineCluster(
        jobs=slots + 4,
        launcher="drmaa",
        memory="500 MB",
        shared_directory=tmp_path_factory.mktemp("shared"),
        environment={"TOKEN": "swordfish"},
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
        quiet=True,
    ) as running:
        running.wait_for_workers(2, timeout=60)
        yield running


AS_NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")


def as_nobody(script: str) -> str:
    """Return what a shell of an unprivileged user prints."""
    return subprocess.run(
        [*AS_NOBODY, "sh", "-c", script],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    ).stdout


def secrets_of(cluster: GridEngineCluster) -> dict[str, str]:
    bootstrap = cluster.pool().bootstrap
    return {
        "server's CURVE key": bootstrap.keys.secret,
        "nodes' CURVE key": bootstrap.node_keys.secret,
        "worker's TLS key": cluster.security.tls_worker_key.splitlines()[1],
        "scheduler's TLS key": cluster.security.tls_scheduler_key.splitlines()[1],
        "user's variable": "swordfish",
    }


LOOK = {
    "qstat": "qstat -j {job}; qstat -xml -j {job}",
    "ps": "ps -efww; ps auxeww",
    "proc": "cat /proc/*/cmdline /proc/*/environ 2>/dev/null | tr '\\0' '\\n'",
    "spools": "find {cell} -type f -readable -size -1M -exec cat {{}} + 2>/dev/null",
    "shared": "find {shared} -type f -exec cat {{}} + 2>/dev/null; ls -lR {shared}",
    "tmp": "find /tmp -name '*dask*' -type f -exec cat {{}} + 2>/dev/null",
}


@pytest.mark.parametrize("place", LOOK)
def test_no_key_is_anywhere_a_colleague_can_look(
    cluster: GridEngineCluster, place: str
) -> None:
    """qstat -j, ps, /proc, the spools and the shared directory give no key away."""
    script = LOOK[place].format(
        job=cluster.jobs()[0].id.job,
        cell=Cell().directory,
        shared=cluster.options.shared_directory,
    )
    seen = as_nobody(script)
    if place in ("qstat", "ps", "proc"):
        assert "dask_gridengine.node" in seen, "the look itself does not work"
    for name, secret in secrets_of(cluster).items():
        assert secret not in seen, f"{name} is visible through {place}"


def test_the_connection_file_is_closed_to_others(
    cluster: GridEngineCluster,
) -> None:
    """Neither the file nor its directory can be entered by another user."""
    directory = cluster.pool().directory
    assert directory is not None
    assert (directory / FILE_NAME).exists()
    assert as_nobody(f"cat {directory}/{FILE_NAME}; ls {directory}") == ""


def test_the_scheduler_rejects_clients_without_certificate(
    cluster: GridEngineCluster,
) -> None:
    """A client without the cluster's certificate gets no connection."""
    address = cluster.scheduler_address
    for stranger in (address, address.replace("tls", "tcp")):
        with pytest.raises(OSError, match=r"(?i)tls|ssl|closed|reset"):
            asyncio.run(try_connect(stranger))


def connection_of(cluster: GridEngineCluster) -> Connection:
    directory = cluster.pool().directory
    assert directory is not None
    found = Connection.read(directory / FILE_NAME)
    return dataclasses.replace(found, timeout=3.0)


def test_an_unknown_key_gets_nothing(cluster: GridEngineCluster) -> None:
    """A client with the port but without the key gets no answer and has no effect."""
    queued = cluster.jobs()[-1].id
    before = cluster.pool().bootstrap.counts.total()
    forged = dataclasses.replace(connection_of(cluster), node_keys=CurveKeys.generate())
    with pytest.raises(BootstrapError, match="did not answer to our key"):
        request_allocation(forged, hello(job=queued.job, index=queued.index))
    assert cluster.pool().bootstrap.counts.total() == before


def test_a_used_identity_gets_nothing(cluster: GridEngineCluster) -> None:
    """Not even with the key and the submission id, which qstat -j shows to all."""
    used = next(node for node in cluster.jobs() if node.worker)
    submission_id = cluster.pool().registry.records[used.id].submission_id
    assert submission_id in as_nobody(f"qstat -j {used.id.job}")
    greeting = hello(job=used.id.job, index=used.id.index, submission_id=submission_id)
    answer = request_allocation(connection_of(cluster), greeting)
    assert isinstance(answer, Rejected)
    assert "already been used" in answer.reason


def test_the_spooled_job_holds_only_a_path(cluster: GridEngineCluster) -> None:
    """Another user only learns the path of the file, which that user cannot read."""
    shown = as_nobody(f"qstat -j {cluster.jobs()[0].id.job}")
    assert FILE_NAME in shown
    assert json.dumps(connection_of(cluster).server_key) not in shown
