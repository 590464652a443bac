"""Where a worker listens, and why it cannot start, in real nodes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dask_gridengine.bootstrap.certificates import new_security
from dask_gridengine.exit_causes import EXIT_STATUS, Cause
from dask_gridengine.worker import network as reaching
from dask_gridengine.worker.network import (
    WorkerStartError,
    listen_options,
    start_or_diagnose,
)
from tests.bootstrap.test_client import black_hole, closed_port, mute
from tests.samples import allocation, two_in_a_row
from tests.stage import Stage, stage
from tests.waiting import until


@pytest.mark.parametrize("nanny", [True, False])
def test_ports_and_interface_are_options_of_dask(nanny: bool) -> None:
    """A Nanny has one port, and one for its worker; without one there is one."""
    given = allocation(
        nanny=nanny, interface="lo", port="9000:9100", nanny_port="9200:9300"
    )
    ports = {"port": "9000:9100"}
    if nanny:
        ports = {"port": "9200:9300", "worker_port": "9000:9100"}
    assert listen_options(given) == {"host": "127.0.0.1", **ports}


def test_an_interface_has_an_address_of_the_schedulers_kind() -> None:
    """IPv6 in brackets, as Dask expects it."""
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    given = allocation(interface="lo", scheduler="tls://[::1]:8786")
    assert listen_options(given) == {"host": "[::1]"}


def test_an_unknown_interface_lists_those_of_the_host() -> None:
    """The node finds out: it is the nodes' interface."""
    with pytest.raises(WorkerStartError, match=r"worker_interface 'ib9'.*lo") as caught:
        listen_options(allocation(interface="ib9"))
    assert caught.value.cause is Cause.NO_LISTEN


async def never() -> None:
    await asyncio.Event().wait()


@pytest.fixture
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLOW_SECONDS", "CONNECT_SECONDS", "PROBE_SECONDS"):
        monkeypatch.setattr(reaching, name, 0.3)


@pytest.mark.usefixtures("short_timeouts")
@pytest.mark.parametrize(
    ("place", "answer"),
    [(black_hole, "no answer in 0.3 s (a firewall, or no"), (closed_port, "refused")],
)
async def test_an_unreachable_scheduler_is_reported_with_its_answer(
    place: Callable[[], contextlib.AbstractContextManager[str]], answer: str
) -> None:
    """Address, port, error, and which address did answer."""
    with place() as address:
        given = allocation(scheduler=f"tcp://{address}")
        with pytest.raises(WorkerStartError) as caught:
            await asyncio.wait_for(start_or_diagnose(never(), given), 10)
    assert caught.value.cause is Cause.NO_SCHEDULER
    assert f"{address}: " in caught.value.detail
    assert answer in caught.value.detail
    assert given.bootstrap_address in caught.value.detail


@pytest.mark.usefixtures("short_timeouts")
async def test_a_slow_start_is_not_interrupted() -> None:
    """If the scheduler accepts, there is another reason, which may pass."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5

    async def slow() -> str:
        await until(lambda: loop.time() > end, "a second")
        return "a worker"

    with mute() as address:
        given = allocation(scheduler=f"tcp://{address}")
        assert await start_or_diagnose(slow(), given) == "a worker"


@pytest.mark.usefixtures("short_timeouts")
async def test_another_error_is_not_blamed_on_the_network() -> None:
    """It is raised as it is if the scheduler can be reached."""

    async def broken() -> None:
        raise ZeroDivisionError("a bug")

    with mute() as address:
        given = allocation(scheduler=f"tcp://{address}")
        with pytest.raises(ZeroDivisionError):
            await start_or_diagnose(broken(), given)


async def ends(on: Stage, cause: Cause) -> str:
    """Start a node that cannot become a worker; the detail of its report."""
    node = on.start_node()
    report = await on.exit_report()
    assert report.cause == cause.value
    assert await node.ended() == EXIT_STATUS[cause]
    assert "Traceback" not in node.text()
    return report.detail


@pytest.mark.timeout(90)
async def test_a_node_reports_that_it_cannot_reach_the_scheduler(
    tmp_path: Path,
) -> None:
    """Soon, in its exit report, and without a traceback in its log."""
    security = new_security("dask-x")

    with black_hole() as wall:
        async with stage(tmp_path, security=security, scheduler=f"tls://{wall}") as on:
            detail = await ends(on, Cause.NO_SCHEDULER)
        assert detail.startswith(f"{wall}: no answer in 3 s")


@pytest.mark.parametrize("nanny", [True, False])
async def test_workers_listen_at_the_given_ports(nanny: bool, tmp_path: Path) -> None:
    """Two nodes on a host share a range, and a third reports that it is too small."""

    async def started(on: Stage, index: int) -> str:
        on.start_node(index)
        return await on.worker(f"ge-{index}")

    with two_in_a_row() as (held, ports):
        free = str(ports.last)
    # Without a Nanny one port does; the other one of the two was just released.
    given = {"port": f"{held}:{free}", "nanny_port": f"{held}:{free}"}
    async with stage(tmp_path, nanny=nanny, **given) as on:
        first = [await started(on, 1)]
        if not nanny:
            first.append(await started(on, 2))
        there = {int(address.rpartition(":")[2]) for address in first}
        assert there <= {held, ports.last}
        node = on.start_node(3)
        report = await on.exit_report()
        assert report.cause == Cause.NO_LISTEN.value
        assert await node.ended() == EXIT_STATUS[Cause.NO_LISTEN]
        assert f"worker_port='{held}:{free}'" in report.detail
        assert "too few free ports" in report.detail
