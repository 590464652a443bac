"""Where a cluster listens, and where its nodes are told that it does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.net.addresses import LOOPBACK, plausible
from dask_gridengine.nodes.endpoints import (
    contact,
    dashboard_address,
    doors,
    listen_at,
    offers,
)
from dask_gridengine.options import Options
from tests.samples import two_in_a_row


def options(**given: Any) -> Options:
    return Options.resolve(given)


def scheduler(**changes: Any) -> Any:
    """The two attributes of a Scheduler that its contact depends on."""
    return SimpleNamespace(
        **{"contact_address": None, "address": "tls://10.0.0.9:8786", **changes}
    )


@pytest.mark.parametrize(
    ("given", "kind", "host"),
    [
        ({}, "drmaa", None),
        ({}, "process", LOOPBACK),
        ({"host": "::1"}, "process", "::1"),
        ({"interface": "lo"}, "drmaa", LOOPBACK),
        ({"contact_address": "gate"}, "process", None),
        ({"contact_address": "gate", "host": "127.0.0.1"}, "drmaa", "127.0.0.1"),
    ],
)
def test_a_grid_is_listened_to_everywhere_and_local_processes_here(
    given: dict[str, Any], kind: str, host: str | None
) -> None:
    """Unless the user says where; a laptop opens no port to its network."""
    assert listen_at(options(**given), kind) == host


def test_all_addresses_lead_to_the_door() -> None:
    """Where it listens everywhere, all are offered; elsewhere the one."""
    listen, hosts = doors(None)
    assert hosts == plausible()
    assert (listen == "::") is any(":" in host for host in hosts)
    assert doors("fd00::1") == ("fd00::1", ["fd00::1"])


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ({}, ("10.0.0.9:4711", "[fd00::9]:4711")),
        ({"contact_address": "gate:28786"}, ("gate:4711",)),
        ({"contact_address": "tls://[fd00::1]"}, ("[fd00::1]:4711",)),
    ],
)
def test_nodes_are_told_where_the_door_is_seen_from_outside(
    given: dict[str, str], offered: tuple[str, ...]
) -> None:
    """The port of contact_address is the scheduler's; the door's is its own."""
    assert offers(options(**given), ["10.0.0.9", "fd00::9"], 4711) == offered


def test_a_node_finds_the_scheduler_where_it_found_the_door() -> None:
    """The address that answered the node leads to the scheduler too."""
    told = options()
    assert contact(told, scheduler(), "10.7.7.1:4711") == "tls://10.7.7.1:8786"
    six = contact(told, scheduler(address="tcp://0.0.0.0:1"), "[::1]:2")
    assert six == "tcp://[::1]:1"


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"contact_address": "gate"}, "tls://gate:8786"),
        ({"contact_address": "gate:28786"}, "tls://gate:28786"),
        ({"contact_address": "tls://[fd00::1]:1"}, "tls://[fd00::1]:1"),
    ],
)
def test_behind_nat_the_user_says_where_the_scheduler_is(
    given: dict[str, str], found: str
) -> None:
    """A host, with the port it has out there if that is another one."""
    assert contact(options(**given), scheduler(), "gate:4711") == found


def test_dasks_own_contact_address_counts_where_ours_is_not_given() -> None:
    """As `distributed.scheduler.contact-address`, of the scheduler alone."""
    told = scheduler(contact_address="tls://login.example:9000")
    assert contact(options(), told, "10.0.0.1:4711") == "tls://login.example:9000"
    ours = contact(options(contact_address="gate"), told, "10.0.0.1:4711")
    assert ours == "tls://gate:8786"


def test_the_dashboard_takes_the_first_port_that_is_free() -> None:
    """And 8787, as everywhere in Dask, where nothing is said."""
    assert dashboard_address(options()) == ":8787"
    with two_in_a_row() as (held, ports):
        assert dashboard_address(options(dashboard_port=str(ports))) == f":{held + 1}"
        # Dask takes any other then, and warns.
        assert dashboard_address(options(dashboard_port=held)) == f":{held}"
