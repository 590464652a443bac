"""The end of every node, once."""

from __future__ import annotations

import logging

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.end_notices import EndNotices

ONE, TWO = NodeId("1", 1), NodeId("1", 2)


def test_an_end_is_reported_once() -> None:
    """Grid Engine's notice and our own finding may both come."""
    ends: list[EndNotice] = []
    ledger = EndNotices(ends.append)
    ledger.enter([ONE])
    ledger.end(EndNotice(node=ONE, exit_status=3))
    ledger.end(EndNotice(node=ONE))
    ledger.end_all(reason="closed")
    assert ends == [EndNotice(node=ONE, exit_status=3)]


def test_an_early_end_waits_until_its_node_is_known() -> None:
    """Nobody hears of the end of a node before he hears of the node."""
    ends: list[EndNotice] = []
    ledger = EndNotices(ends.append)
    ledger.end(EndNotice(node=ONE))
    ledger.enter([ONE, TWO])
    assert ends == []
    ledger.catch_up([ONE, TWO])
    assert [end.node for end in ends] == [ONE]
    assert list(ledger.live) == [TWO]


def test_a_forgotten_early_end_never_comes() -> None:
    """That of a submission nobody waits for any more."""
    ends: list[EndNotice] = []
    ledger = EndNotices(ends.append)
    ledger.end(EndNotice(node=ONE))
    ledger.forget([ONE, TWO])
    ledger.enter([ONE])
    ledger.catch_up([ONE])
    assert ends == []


def test_what_we_cancelled_is_reported_as_cancelled() -> None:
    """Whoever ends it, and whether the session knew of our wish or not."""
    ends: list[EndNotice] = []
    ledger = EndNotices(ends.append)
    ledger.enter([ONE])
    assert ledger.cancel([ONE, TWO]) == [ONE]
    assert ledger.cancelled == [ONE]
    ledger.end(EndNotice(node=ONE, signal="SIGKILL"))
    assert ends == [EndNotice(node=ONE, signal="SIGKILL", cancelled=True)]


def test_what_we_cancelled_was_deleted_by_nobody_else() -> None:
    """The session that had not heard of our wish took it for somebody's qdel."""
    ends: list[EndNotice] = []
    ledger = EndNotices(ends.append)
    ledger.enter([ONE, TWO])
    ledger.cancel([ONE])
    for node in (ONE, TWO):
        ledger.end(EndNotice(node=node, deleted=True, ran=2.0))
    assert ends == [
        EndNotice(node=ONE, cancelled=True, ran=2.0),
        EndNotice(node=TWO, deleted=True, ran=2.0),
    ]


def test_a_callback_that_fails_does_not_cost_the_other_notices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged with its node, and the next end is reported."""
    ends: list[NodeId] = []

    def take(end: EndNotice) -> None:
        ends.append(end.node)
        raise RuntimeError("not today")

    ledger = EndNotices(take)
    ledger.enter([ONE, TWO])
    with caplog.at_level(logging.ERROR):
        ledger.end_all(reason="closed")
    assert ends == [ONE, TWO]
    assert "1.2 was not taken well" in caplog.text
    assert "not today" in caplog.text
