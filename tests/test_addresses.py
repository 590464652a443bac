"""At which addresses this host may be reached."""

from __future__ import annotations

import socket

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.addresses import LOOPBACK, join, plausible, split
from dask_gridengine.errors import OptionError


def test_all_of_this_hosts_addresses_are_offered_and_are_its_own() -> None:
    """A node may be anywhere, so it is offered every address it might reach."""
    own = {
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET
    }
    offered = plausible()
    assert offered
    assert set(offered) <= own
    assert len(set(offered)) == len(offered)


def test_loopback_is_not_offered_beside_a_network() -> None:
    """A node on another host would find its own loopback there, not ours."""
    offered = plausible()
    assert offered == [LOOPBACK] or LOOPBACK not in offered


def test_an_interface_may_be_named() -> None:
    """Only the named interface's addresses are offered."""
    assert plausible(interface="lo") == [LOOPBACK]


def test_an_unknown_interface_lists_those_there_are() -> None:
    """The error is the answer."""
    with pytest.raises(OptionError, match=r"'ib9'.*lo"):
        plausible(interface="ib9")


def test_a_host_may_be_named() -> None:
    """A name is resolved here, once."""
    assert plausible(host="localhost")[0] in ("127.0.0.1", "::1")


def test_an_unknown_host_is_named() -> None:
    """A name nobody knows is an option error."""
    with pytest.raises(OptionError, match="nowhere"):
        plausible(host="nowhere.invalid")


@given(st.ip_addresses().map(str), st.integers(1, 65535))
def test_join_and_split_undo_each_other(host: str, port: int) -> None:
    """IPv6 addresses keep their colons to themselves."""
    assert split(join(host, port)) == (host, port)
