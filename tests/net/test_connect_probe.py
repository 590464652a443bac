"""Which of several addresses answers, with real listeners, closed ports and walls."""

from __future__ import annotations

import contextlib
import socket
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
    """An address that is silent holds nobody up; what it said so far is known."""
    with black_hole() as silent, closed_port() as closed, mute() as there:
        knocks = ConnectProbe([silent, closed, there], 5.0)
        with contextlib.closing(knocks.connected()) as connected:
            began = time.monotonic()
            assert next(connected) == (there, there)
            assert NEXT_SECONDS <= time.monotonic() - began < 4
        answers = knocks.answers()
    assert answers[there] == CONNECTED
    assert answers[closed] == "connection refused"
    assert answers[silent].startswith("no answer in 0.")


def test_the_likeliest_that_answers_is_the_only_one_tried() -> None:
    """Whoever is at the first address leaves no traces at the others."""
    with mute() as first, mute() as second:
        knocks = ConnectProbe([first, second], 5.0)
        with contextlib.closing(knocks.connected()) as connected:
            assert next(connected) == (first, first)
        assert knocks.answers() == {first: CONNECTED}


def test_all_that_answer_come_in_turn() -> None:
    """The caller may know better than the kernel, and then the next one counts."""
    with mute() as first, mute() as second:
        knocks = ConnectProbe([first, second], 5.0)
        met = []
        for address, _ in knocks.connected():
            met.append(address)
            knocks.correct(address, "somebody else")
        assert met == [first, second]
        assert knocks.answers() == dict.fromkeys(met, "somebody else")


def test_silence_has_its_time() -> None:
    """An address that never answers is given up, and so is told."""
    with black_hole() as silent:
        began = time.monotonic()
        said, _ = try_connect(silent, 0.3)
        assert 0.3 <= time.monotonic() - began < 3
    assert said == "no answer in 0.3 s (a firewall, or no route)"


def test_a_name_is_tried_at_all_its_addresses() -> None:
    """localhost may be ::1 first, where nobody listens; the number is told."""
    with mute() as there:
        name = there.replace("127.0.0.1", "localhost")
        assert try_connect(name, 5.0) == (CONNECTED, there)


@pytest.mark.parametrize(
    ("address", "said"),
    [("nowhere.invalid:1", "name or service|no address|temporary failure"),
     ("127.0.0.1", "invalid literal")],
)  # fmt: skip
def test_what_is_no_address_is_an_answer(address: str, said: str) -> None:
    """A wrong name must not keep a node from trying the others."""
    with mute() as there:
        knocks = ConnectProbe([address, there], 5.0)
        assert list(knocks.connected()) == [(there, there)]
    assert any(word in knocks.answers()[address] for word in said.split("|"))


def test_no_socket_is_left() -> None:
    """Neither of those that answered nor of those that were still being tried."""
    with black_hole() as silent, mute() as there:
        probe = socket.socket()
        lowest = probe.fileno()
        probe.close()
        with contextlib.closing(
            ConnectProbe([silent, there], 5.0).connected()
        ) as connected:
            next(connected)
        with socket.socket() as again:
            assert again.fileno() == lowest
