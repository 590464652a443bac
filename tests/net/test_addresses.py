"""The addresses at which other hosts may reach this one."""

from __future__ import annotations

import socket

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import (
    LOOPBACK,
    bracketed,
    host_and_port,
    join,
    on_interface,
    plausible,
    split,
)


def test_the_offered_addresses_are_this_hosts() -> None:
    """A node may be in any network, so every address is offered."""
    own = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    offered = plausible()
    assert offered
    assert set(offered) <= own
    assert len(set(offered)) == len(offered)


def test_ipv4_comes_first() -> None:
    """Link-local addresses are left out."""
    kinds = [":" in address for address in plausible()]
    assert kinds == sorted(kinds)
    assert not any(address.startswith("fe80") for address in plausible())


def test_loopback_is_not_offered_beside_a_network() -> None:
    """A node on another host would find its own loopback there, not ours."""
    offered = plausible()
    assert offered == [LOOPBACK] or LOOPBACK not in offered


def test_an_interface_may_be_named() -> None:
    """Only the named interface's addresses are offered."""
    assert plausible(interface="lo")[0] == LOOPBACK
    assert {*plausible(interface="lo")} <= {LOOPBACK, "::1"}


@pytest.mark.parametrize("network", ["127.0.0.0/8", "127.0.0.1/32", "127.1.2.3/8"])
def test_a_network_stands_for_an_interface(network: str) -> None:
    """Interfaces may have different names on different hosts."""
    assert on_interface(network) == [LOOPBACK]


def test_an_invalid_network_is_an_option_error() -> None:
    """The hint lists the interfaces."""
    with pytest.raises(OptionError, match="is not a network"):
        on_interface("10.0.0.0/99")
    with pytest.raises(OptionError, match=r"(?s)lo \(127.0.0.1\).*10.1.0.0/16"):
        on_interface("198.51.100.0/24")


def test_an_unknown_interface_is_an_option_error() -> None:
    """The hint lists the interfaces."""
    with pytest.raises(OptionError, match=r"(?s)'ib9'.*lo"):
        plausible(interface="ib9")


@given(st.ip_addresses().map(str), st.integers(1, 65535))
def test_join_and_split_undo_each_other(host: str, port: int) -> None:
    """Also for IPv6 addresses."""
    assert split(join(host, port)) == (host, port)


@given(st.ip_addresses().map(str), st.integers(1, 65535))
def test_an_address_is_read_however_it_is_written(host: str, port: int) -> None:
    """With a port or without, with brackets or without, with a protocol or without."""
    for text in (host, f"[{host}]" if ":" in host else host, f"tls://{host}"):
        assert host_and_port(text, "contact_address") == (host, None)
    assert host_and_port(join(host, port), "contact_address") == (host, port)
    assert host_and_port(f"tcp://{join(host, port)}", "x") == (host, port)
    assert split(f"{bracketed(host)}:{port}") == (host, port)


@pytest.mark.parametrize("text", ["", "a b", "gate:", "gate:http", "gate:99999", "a/b"])
def test_an_invalid_address_shows_how_to_write_one(text: str) -> None:
    """Before anything is submitted, and with the option's name."""
    with pytest.raises(
        OptionError, match=r"(?s)^contact_address=.*gate.example.org:8786"
    ):
        host_and_port(text, "contact_address")
