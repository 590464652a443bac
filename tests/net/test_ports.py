"""Port options, and which processes hold ports."""

from __future__ import annotations

import os
from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.net.ports import (
    Ports,
    count_held,
    holders,
    is_free,
    none_free,
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
def test_ports_are_written_as_in_dask(value: Any, ports: Any) -> None:
    """One, a range with both ends, or any."""
    parsed = Ports.parse(value, "worker_port")
    assert (parsed and [*parsed]) == ports
    assert parsed is None or Ports.parse(str(parsed), "worker_port") == parsed


@pytest.mark.parametrize(
    "value", ["9000-9100", "9100:9000", ":9000", "1:70000", -1, True, "http", [9000]]
)
def test_invalid_ports_are_an_option_error(value: Any) -> None:
    """The message names the option, and shows how to write a range."""
    with pytest.raises(OptionError, match=r"(?s)worker_port=.*'9000:9100'"):
        Ports.parse(value, "worker_port")


def test_a_port_is_free_until_a_process_listens() -> None:
    """At any of this host's addresses."""
    with two_in_a_row() as (held, ports):
        assert not is_free("", held)
        assert not is_free("127.0.0.1", held)
        assert is_free("", ports.last)


def test_the_process_that_holds_a_port_is_named() -> None:
    """With its command, if it is the user's own."""
    with two_in_a_row() as (held, ports):
        text = holders(ports)
        assert text.startswith(f"{held} is held by process {os.getpid()} (")
        assert "python" in text or "pytest" in text
        assert count_held(ports) == "1 of 2 are held, 1 by processes of yours"
        error = none_free("scheduler_port", ports)
    assert f"scheduler_port='{ports}'" in error.message
    assert text in error.message
    assert "scheduler_port=" in error.hint


def test_a_free_port_has_no_holder() -> None:
    """The process may have ended since the port was found occupied."""
    with two_in_a_row() as (_, ports):
        free = Ports(first=ports.last, last=ports.last)
        assert holders(free) == "no owning process found"
