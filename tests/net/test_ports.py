"""Port options."""

from __future__ import annotations

from typing import Any

import pytest

from dask_gridengine.errors import OptionError
from dask_gridengine.net.ports import (
    Ports,
    is_free,
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
