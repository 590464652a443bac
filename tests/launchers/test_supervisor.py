"""A session that dies is replaced, within reason."""

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
from dask_gridengine.launchers.end_notices import EndNotices
from dask_gridengine.launchers.protocol import Message
from dask_gridengine.launchers.supervisor import SessionSupervisor
from tests.launchers.conftest import Ends, Fake
from tests.waiting import until

NODES = [NodeId("5", index) for index in (1, 2, 3)]


def keep(
    fake: Fake, ends: Ends, **changes: Any
) -> tuple[SessionSupervisor, EndNotices]:
    """A keeper whose nodes are NODES, the second of them cancelled."""
    ledger = EndNotices(ends)
    ledger.enter(NODES)
    ledger.cancel([NODES[1]])
    events: list[Message] = []
    return SessionSupervisor(fake.program(**changes), ledger, events.append), ledger


async def close(keeper: SessionSupervisor) -> None:
    session = await keeper.get(5)
    keeper.stop()
    assert await session.aclose(timeout=5)


def test_a_successor_takes_over_the_nodes(fake: Fake, ends: Ends) -> None:
    """It is told which live and which of them to delete; none is reported as ended."""

    async def main() -> None:
        keeper, _ = keep(fake, ends)
        await keeper.open()
        before = fake.pid
        fake.kill()
        await until(lambda: not keeper.alive, "its death noticed")
        await keeper.get(5)
        assert fake.pid != before
        await close(keeper)

    asyncio.run(main())
    adopt = fake.heard_of("adopt")[-1]
    assert adopt["nodes"] == {"5": [[1, 3]]}
    assert adopt["cancelled"] == {"5": [[2, 2]]}
    assert ends.seen == []


def test_nodes_that_die_with_their_session_are_reported(fake: Fake, ends: Ends) -> None:
    """Once, with the reason; afterwards there is nothing more to be had."""
    tidied: list[Message] = []

    async def main() -> None:
        keeper, _ = keep(fake, ends, nodes_outlive_it=False, tidy=tidied.append)
        await keeper.open()
        fake.kill()
        await until(lambda: ends.seen, "their ends")
        with pytest.raises(LauncherError, match="killed by SIGKILL"):
            await keeper.get(5)

    asyncio.run(main())
    assert ends.nodes == NODES
    assert ends.seen[0] == EndNotice(node=NODES[0], reason=ends.seen[0].reason)
    assert "killed by SIGKILL" in ends.seen[0].reason
    assert ends.seen[1].cancelled
    assert [ready["system"] for ready in tidied] == ["FAKE 1.0"]


def test_tries_are_bounded_and_each_request_tries_once_more(
    fake: Fake, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """No endless loop of crashes; but an outage that ends, ends here too."""

    async def main() -> None:
        keeper, _ = keep(fake, ends)
        await keeper.open()
        fake.behave("fails-later")
        fake.kill()
        await until(lambda: len(caplog.records) == 4, "a death and three tries")
        with pytest.raises(DrmCommunicationError, match="not a second time"):
            await keeper.get(5)
        assert len(caplog.records) == 5
        fake.behave()
        await close(keeper)

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert ends.seen == []


def test_a_session_that_cannot_start_says_what_to_do(fake: Fake, ends: Ends) -> None:
    """What it lacks, in its own words, and the launcher's advice for that."""
    fake.behave("fails")

    async def main() -> None:
        keeper, _ = keep(fake, ends)
        await keeper.open()

    with pytest.raises(LauncherUnavailable) as caught:
        asyncio.run(main())
    assert caught.value.reason == "no feet here"
    assert caught.value.advice == "grow feet"


def test_a_session_that_does_not_take_over_is_no_session(
    fake: Fake, ends: Ends
) -> None:
    """One that fails at it, or never answers, is killed."""

    async def main(behaviour: str, told: str) -> None:
        fake.behave(behaviour)
        keeper, _ = keep(fake, ends, answering=0.3)
        with pytest.raises(LauncherUnavailable, match=told):
            await keeper.open()
        assert not keeper.alive

    asyncio.run(main("ignores-adopt", "did not take over the nodes in time"))
    asyncio.run(main("fails-adopt", "out of cheese"))


def test_a_stopped_keeper_starts_nothing(fake: Fake, ends: Ends) -> None:
    """Not even when the session it was closing dies at that."""

    async def main() -> None:
        keeper, _ = keep(fake, ends)
        await keeper.open()
        session = await keeper.get(5)
        keeper.stop()
        fake.kill()
        await until(lambda: not session.ask("x").cancelled(), "a turn")
        with pytest.raises(DrmCommunicationError, match="closed"):
            await keeper.get(5)
        await session.aclose(timeout=5)

    asyncio.run(main())
