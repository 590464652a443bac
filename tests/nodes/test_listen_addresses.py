"""The addresses at which a cluster listens, and those at which nodes contact it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import LOOPBACK, plausible
from dask_gridengine.nodes.listen_addresses import (
    bootstrap_addresses,
    bootstrap_hosts,
    contact,
    dashboard_address,
    listen_at,
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
        ({"interface": "lo"}, "process", LOOPBACK),
        ({"contact_address": "gate"}, "process", None),
        ({"contact_address": "gate", "host": "127.0.0.1"}, "drmaa", "127.0.0.1"),
    ],
)
def test_clusters_on_a_grid_listen_everywhere_and_local_ones_at_loopback(
    given: dict[str, Any], kind: str, host: str | None
) -> None:
    """Unless the user says where; a laptop opens no port to its network."""
    assert listen_at(options(**given), kind) == host


@pytest.mark.parametrize("given", [{"interface": "lo"}, {"host": "localhost"}])
def test_no_node_of_a_grid_reaches_loopback(given: dict[str, Any]) -> None:
    """It is refused at once; nodes would try for a minute (D11)."""
    with pytest.raises(OptionError, match=next(iter(given))):
        listen_at(options(**given), "drmaa")


def test_all_bound_addresses_are_offered() -> None:
    """Where it listens everywhere, all are offered; elsewhere the one."""
    listen, hosts = bootstrap_hosts(None)
    assert hosts == plausible()
    assert (listen == "::") is any(":" in host for host in hosts)
    assert bootstrap_hosts("fd00::1") == ("fd00::1", ["fd00::1"])


@pytest.mark.parametrize(
    ("given", "offered"),
    [
        ({}, ("10.0.0.9:4711", "[fd00::9]:4711")),
        ({"contact_address": "gate:28786"}, ("gate:4711",)),
        ({"contact_address": "tls://[fd00::1]"}, ("[fd00::1]:4711",)),
    ],
)
def test_nodes_get_the_outer_address(
    given: dict[str, str], offered: tuple[str, ...]
) -> None:
    """The port of contact_address is the scheduler's, not the bootstrap port."""
    assert (
        bootstrap_addresses(options(**given), ["10.0.0.9", "fd00::9"], 4711) == offered
    )


@pytest.mark.parametrize(
    ("given", "changes", "via", "found"),
    [
        ({}, {}, "10.7.7.1:4711", "tls://10.7.7.1:8786"),
        ({}, {"address": "tcp://0.0.0.0:1"}, "[::1]:2", "tcp://[::1]:1"),
        ({}, {"contact_address": "tls://login:9000"}, "10.0.0.1:1", "tls://login:9000"),
        ({"contact_address": "gate"}, {}, "gate:4711", "tls://gate:8786"),
        ({"contact_address": "gate:28786"}, {}, "gate:4711", "tls://gate:28786"),
        (
            {"contact_address": "tls://[fd00::1]:1"},
            {},
            "gate:4711",
            "tls://[fd00::1]:1",
        ),
        (
            {"contact_address": "gate"},
            {"contact_address": "tls://login:9000"},
            "10.0.0.1:1",
            "tls://gate:8786",
        ),
    ],
)
def test_where_a_node_contacts_the_scheduler(
    given: dict[str, str], changes: dict[str, str], via: str, found: str
) -> None:
    """At our contact_address, else Dask's, else the address that answered its hello."""
    assert contact(options(**given), scheduler(**changes), via) == found


def test_the_dashboard_takes_the_first_port_that_is_free() -> None:
    """And 8787, as everywhere in Dask, without an option."""
    assert dashboard_address(options()) == ":8787"
    with two_in_a_row() as (held, ports):
        assert dashboard_address(options(dashboard_port=str(ports))) == f":{held + 1}"
        # Dask takes any other then, and warns.
        assert dashboard_address(options(dashboard_port=held)) == f":{held}"
