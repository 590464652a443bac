"""A child that dies is restarted, within limits; each end is reported once."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from dask_gridengine.errors import (
    DrmCommunicationError,
    LauncherError,
    LauncherUnavailable,
)
from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.messages import Message
from dask_gridengine.launchers.supervisor import ChildSupervisor, EndNotices
from tests.launchers.conftest import Ends, FakeChild
from tests.waiting import until

NODES = ONE, TWO, THREE = [NodeId("5", index) for index in (1, 2, 3)]


async def supervise(fake: FakeChild, ends: Ends, **changes: Any) -> ChildSupervisor:
    """Return a supervisor whose nodes are NODES, the second of them cancelled."""
    child = await ChildSupervisor.open(fake.program(**changes), ends)
    child.ends.add(NODES)
    child.ends.mark_cancelled([TWO])
    return child


async def close(child: ChildSupervisor) -> None:
    channel = await child.channel(5)
    child.stop()
    assert await channel.aclose(timeout=5)


async def test_a_new_child_takes_over_the_nodes(fake: FakeChild, ends: Ends) -> None:
    """It gets the live nodes and those of them to delete; no end is reported."""
    child = await supervise(fake, ends)
    before = fake.pid
    fake.kill()
    await until(lambda: not child.running, "its death noticed")
    await child.channel(5)
    assert fake.pid != before
    await close(child)
    take_over = fake.received("take_over")[-1]
    assert take_over["nodes"] == {"5": [[1, 3]]}
    assert take_over["cancelled"] == {"5": [[2, 2]]}
    assert ends.seen == []


async def test_nodes_that_die_with_their_child_are_reported(
    fake: FakeChild, ends: Ends
) -> None:
    """Once, with the reason, after their remains are removed; there is no restart."""
    removed: list[Message] = []
    child = await supervise(
        fake, ends, nodes_survive=False, remove_remains=removed.append
    )
    fake.kill()
    await until(lambda: ends.seen, "their ends")
    with pytest.raises(LauncherError, match="SIGKILL"):
        await child.channel(5)
    assert ends.nodes == NODES
    assert [end.cancelled for end in ends.seen] == [False, True, False]
    assert all("SIGKILL" in end.reason for end in ends.seen)
    assert [ready["system"] for ready in removed] == ["FAKE 1.0"]


def test_restarts_are_bounded_and_each_request_tries_once_more(
    fake: FakeChild, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """A child that always crashes is not restarted for ever."""

    async def main() -> None:
        child = await supervise(fake, ends)
        fake.behave("fails-later")
        fake.kill()
        await until(lambda: len(caplog.records) == 4, "a death and three restarts")
        with pytest.raises(DrmCommunicationError, match="not a second time"):
            await child.channel(5)
        assert len(caplog.records) == 5
        fake.behave()
        await close(child)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert ends.seen == []


@pytest.mark.parametrize(
    ("behaviour", "advice"),
    [("fails-at-start", "grow feet"), ("dies-at-start", "the default advice")],
)
def test_a_child_that_does_not_start_gives_advice(
    fake: FakeChild, ends: Ends, behaviour: str, advice: str
) -> None:
    """Its own advice, or the launcher's if it had no time for any."""
    fake.behave(behaviour)
    with pytest.raises(LauncherUnavailable, match="feet") as caught:
        asyncio.run(supervise(fake, ends))
    assert caught.value.hint == advice


@pytest.mark.parametrize("behaviour", ["ignores", "fails", "dies-at"])
async def test_a_child_that_does_not_take_over_is_killed(
    fake: FakeChild, ends: Ends, behaviour: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one is tried."""
    words = {"dies-at": "dies-at-take_over"}.get(behaviour, f"{behaviour}-take_over")
    child = await supervise(fake, ends, reply_timeout=0.3)
    fake.behave(words)
    fake.kill()
    await until(lambda: len(caplog.records) == 4, "a death and three restarts")
    assert not child.running
    fake.behave()
    await close(child)
    assert len(fake.received("take_over")) == 4


def test_an_early_end_waits_until_its_node_is_known(ends: Ends) -> None:
    """An end whose submission was given up is never reported."""
    notices = EndNotices(ends)
    for node in NODES:
        notices.report(EndNotice(node=node))
    notices.discard([THREE])
    notices.add(NODES)
    assert ends.seen == []
    notices.report_early(NODES)
    assert ends.nodes == [ONE, TWO]
    assert list(notices.live) == [THREE]


def test_what_we_cancelled_is_reported_as_cancelled(ends: Ends) -> None:
    """Also when the child took it for a user's qdel."""
    notices = EndNotices(ends)
    notices.add([ONE, TWO])
    assert notices.mark_cancelled([ONE, THREE]) == [ONE]
    for node in (ONE, TWO):
        notices.report(EndNotice(node=node, deleted=True, ran=2.0))
    assert ends.seen == [
        EndNotice(node=ONE, cancelled=True, ran=2.0),
        EndNotice(node=TWO, deleted=True, ran=2.0),
    ]
