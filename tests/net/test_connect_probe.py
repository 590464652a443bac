"""Probes with real listeners, closed ports and ports that drop packets."""

from __future__ import annotations

import contextlib
import time

import pytest

from dask_gridengine.net.connect_probe import (
    CONNECTED,
    NEXT_SECONDS,
    ConnectProbe,
    try_connect,
)
from tests.bootstrap.test_client import black_hole, closed_port, mute


def test_the_first_that_answers_comes_first() -> None:
    """A silent address does not delay the others."""
    with black_hole() as silent, closed_port() as closed, mute() as there:
        probe = ConnectProbe([silent, closed, there], 5.0)
        with contextlib.closing(probe.connected()) as connected:
            began = time.monotonic()
            assert next(connected) == (there, there)
            assert NEXT_SECONDS <= time.monotonic() - began < 4
        results = probe.results()
    assert results[there] == CONNECTED
    assert results[closed] == "connection refused"
    assert results[silent].startswith("no answer in 0.")


def test_all_that_answer_come_in_turn() -> None:
    """The caller may correct a result and take the next one."""
    with mute() as first, mute() as second:
        probe = ConnectProbe([first, second], 5.0)
        met = []
        for address, _ in probe.connected():
            met.append(address)
            probe.correct(address, "another program")
        assert met == [first, second]
        assert probe.results() == dict.fromkeys(met, "another program")


def test_silence_has_a_timeout() -> None:
    """The result names the likely reasons."""
    with black_hole() as silent:
        began = time.monotonic()
        result, _ = try_connect(silent, 0.3)
        assert 0.3 <= time.monotonic() - began < 3
    assert result == "no answer in 0.3 s (a firewall, or no route)"


def test_a_name_is_tried_at_all_its_addresses() -> None:
    """localhost may be ::1 first, where nothing listens."""
    with mute() as there:
        name = there.replace("127.0.0.1", "localhost")
        assert try_connect(name, 5.0) == (CONNECTED, there)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("nowhere.invalid:1", "name or service|no address|temporary failure"),
     ("127.0.0.1", "invalid literal")],
)  # fmt: skip
def test_an_invalid_address_is_a_result(address: str, expected: str) -> None:
    """A wrong name must not keep a node from trying the others."""
    with mute() as there:
        probe = ConnectProbe([address, there], 5.0)
        assert list(probe.connected()) == [(there, there)]
    assert any(word in probe.results()[address] for word in expected.split("|"))
