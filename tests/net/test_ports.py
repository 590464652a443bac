"""Ports of a firewalled site: how they are written, and who holds them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.net.ports import (
    Ports,
    how_many_held,
    is_free,
    none_free,
    who_holds,
)
from tests.samples import two_in_a_row


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        (8786, [8786]),
        ("8786", [8786]),
        ("9000:9002", [9000, 9001, 9002]),
        ("9000:9000", [9000]),
        (None, None),
        (0, None),
        ("0", None),
    ],
)
def test_ports_are_written_as_dask_has_them(value: Any, ports: Any) -> None:
    """One, a range with both ends, or any."""
    parsed = Ports.parse(value, "worker_port")
    assert (parsed and [*parsed]) == ports
    assert parsed is None or Ports.parse(str(parsed), "worker_port") == parsed


@pytest.mark.parametrize(
    "value", ["9000-9100", "9100:9000", ":9000", "1:70000", -1, True, "http", [9000]]
)
def test_what_are_no_ports_is_told(value: Any) -> None:
    """The message names the option, and shows how to write a range."""
    with pytest.raises(OptionError, match=r"worker_port=.*'9000:9100'"):
        Ports.parse(value, "worker_port")


def test_a_port_is_free_until_somebody_listens() -> None:
    """At any of this host's addresses."""
    with two_in_a_row() as (held, ports):
        assert not is_free("", held)
        assert not is_free("127.0.0.1", held)
        assert is_free("", ports.last)


def test_whoever_holds_a_port_is_named() -> None:
    """With the process, if it is the user's own; and what to type."""
    with two_in_a_row() as (held, ports):
        said = who_holds(ports)
        assert said.startswith(f"{held} is held by process {os.getpid()} (")
        assert "python" in said or "pytest" in said
        assert how_many_held(ports) == "1 of 2 are held, 1 by processes of yours"
        error = str(none_free("scheduler_port", ports))
    assert f"scheduler_port='{ports}'" in error
    assert said in error
    assert "what to do:" in error


def test_of_free_ports_nobody_is_said_to_hold_them() -> None:
    """Between two looks whoever held one may have gone."""
    with two_in_a_row() as (_, ports):
        free = Ports(first=ports.last, last=ports.last)
        assert who_holds(free) == "nobody can be seen to hold it"
