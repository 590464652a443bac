"""The launcher, over a child process that may do anything."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest

from dask_gridengine.batch import batch_system
from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.errors import DrmCommunicationError, LauncherError
from dask_gridengine.grid_types import NodeRequest
from dask_gridengine.launchers.base import Launcher
from dask_gridengine.launchers.supervisor import ChildSupervisor
from tests.launchers.conftest import Ends, FakeChild
from tests.waiting import until, wait_until

REQUEST = NodeRequest(name="x", command=("sleep", "1"), native="-q long.q")


async def open_fake(fake: FakeChild, ends: Ends, **changes: Any) -> Launcher:
    child = await ChildSupervisor.open(fake.program(**changes), ends)
    return Launcher(
        child, description="a fake", batch_system=batch_system("gridengine")
    )


@asynccontextmanager
async def opened(
    fake: FakeChild, ends: Ends, **changes: Any
) -> AsyncIterator[Launcher]:
    launcher = await open_fake(fake, ends, **changes)
    try:
        yield launcher
    finally:
        fake.behave()
        await launcher.aclose()


@pytest.mark.parametrize("behaviour", ["ends-before-reply", "ends-after-reply"])
async def test_no_end_comes_before_its_node_is_known(
    fake: FakeChild, ends: Ends, behaviour: str
) -> None:
    """However soon a node ends, the caller of `submit` has its id first."""
    fake.behave(behaviour)
    async with opened(fake, ends) as launcher:
        nodes = await launcher.submit(REQUEST, 3)
        assert ends.seen == []
        assert [node.index for node in nodes] == [1, 2, 3]
        assert {end.exit_status for end in await ends.of(nodes)} <= {7, 8}


@pytest.mark.parametrize("verb", ["submit", "cancel"])
@pytest.mark.parametrize(
    ("behaviour", "error"),
    [("cannot", DrmCommunicationError), ("fails", LauncherError)],
)
async def test_an_unreachable_grid_has_an_error_of_its_own(
    fake: FakeChild, ends: Ends, verb: str, behaviour: str, error: type[Exception]
) -> None:
    """Also for cancellations."""
    async with opened(fake, ends) as launcher:
        nodes = await launcher.submit(REQUEST, 1)
        fake.behave(f"{behaviour}-{verb}")
        call: Any = {
            "submit": lambda: launcher.submit(REQUEST, 1),
            "cancel": lambda: launcher.cancel(nodes),
        }[verb]
        with pytest.raises(LauncherError) as caught:
            await call()
        assert type(caught.value) is error


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ("cannot-recheck", "master is gone"),
        ("fails-recheck", "out of cheese"),
        ("dies-at-recheck", "killed by SIGSEGV"),
    ],
)
def test_a_recheck_never_raises(
    fake: FakeChild,
    ends: Ends,
    behaviour: str,
    problem: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The debug log has the problem."""
    fake.behave(behaviour)

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 1)
        await launcher.recheck(nodes)
        await until(lambda: "could not recheck" in caplog.text, "a log line")
        await launcher.recheck(nodes)
        await launcher.aclose()
        await launcher.recheck(nodes)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())
    assert problem in caplog.text.partition("could not recheck")[2]


async def test_a_cancelled_submission_is_deleted_when_it_has_completed(
    fake: FakeChild, ends: Ends
) -> None:
    """The call cannot be recalled; no end is reported, and no node stays."""
    fake.behave("waits-at-submit")
    launcher = await open_fake(fake, ends)
    submitting = asyncio.create_task(launcher.submit(REQUEST, 3))
    await until(lambda: fake.received("submit"), "the request sent")
    submitting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submitting
    fake.behave("ends-before-reply")
    await until(lambda: fake.received("cancel"), "the deletion")
    await launcher.aclose()
    ((_, runs),) = fake.received("cancel")[0]["nodes"].items()
    assert runs == [[1, 3]]
    assert ends.seen == []


async def test_a_submission_that_kills_the_child_may_be_repeated(
    fake: FakeChild, ends: Ends
) -> None:
    """The new child searches for what the first submission may have queued."""
    async with opened(fake, ends) as launcher:
        fake.behave("dies-at-submit")
        with pytest.raises(DrmCommunicationError, match="SIGSEGV"):
            await launcher.submit(REQUEST, 1)
        fake.behave()
        assert len(await launcher.submit(REQUEST, 2)) == 2
        await until(lambda: fake.received("delete_unacknowledged"), "the search")
    first, second = (
        message["request"]["environment"][SUBMISSION]
        for message in fake.received("submit")
    )
    (search,) = fake.received("delete_unacknowledged")
    assert (search["name"], search["submission_id"]) == (REQUEST.name, first)
    assert second != first


async def test_a_cancellation_survives_the_child(fake: FakeChild, ends: Ends) -> None:
    """The new child gets the nodes to delete; the caller need not repeat it."""
    async with opened(fake, ends) as launcher:
        nodes = await launcher.submit(REQUEST, 2)
        fake.behave("dies-at-cancel")
        await launcher.cancel(nodes)
        (take_over,) = fake.received("take_over")
        assert take_over["cancelled"] == {nodes[0].job: [[1, 2]]}


async def test_without_its_child_a_local_launcher_does_nothing(
    fake: FakeChild, ends: Ends
) -> None:
    """Submissions raise, cancelling does nothing, closing works."""
    async with opened(fake, ends, nodes_survive=False) as launcher:
        nodes = await launcher.submit(REQUEST, 2)
        fake.kill()
        await ends.of(nodes)
        with pytest.raises(LauncherError, match="SIGKILL") as caught:
            await launcher.submit(REQUEST, 1)
        assert not isinstance(caught.value, DrmCommunicationError)
        await launcher.cancel(nodes)


async def test_closing_reports_the_remaining_nodes_as_cancelled(
    fake: FakeChild, ends: Ends
) -> None:
    """It is idempotent; a closed launcher takes no submission."""
    launcher = await open_fake(fake, ends)
    nodes = await launcher.submit(REQUEST, 2)
    await asyncio.gather(launcher.aclose(), launcher.aclose())
    assert [end.cancelled for end in await ends.of(nodes)] == [True, True]
    await launcher.aclose()
    with pytest.raises(LauncherError, match="closed"):
        await launcher.submit(REQUEST, 1)
    await launcher.cancel(nodes)
    assert len(fake.received("close")) == 1


async def test_closing_continues_when_its_caller_is_cancelled(
    fake: FakeChild, ends: Ends
) -> None:
    """Ctrl-C while a cluster closes must not leave its jobs."""
    fake.behave("waits-at-close")
    launcher = await open_fake(fake, ends)
    closing = asyncio.create_task(launcher.aclose())
    await until(lambda: fake.received("close"), "the request sent")
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    fake.behave()
    await launcher.aclose()
    assert not psutil.pid_exists(fake.pid)


@pytest.mark.parametrize("survive", [True, False])
async def test_closing_is_bounded(
    fake: FakeChild, ends: Ends, survive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A child that does not close is killed, unless it has jobs to delete."""
    fake.behave("ignores-close", "immortal")
    launcher = await open_fake(fake, ends, nodes_survive=survive)
    (node,) = await launcher.submit(REQUEST, 1)
    start = time.monotonic()
    await launcher.aclose(timeout=1)
    assert time.monotonic() - start < 2
    if not survive:
        await until(lambda: not psutil.pid_exists(fake.pid), "its end")
    assert psutil.pid_exists(fake.pid) == survive
    warning = f"job {node.job}; process {fake.pid}"
    assert (warning in caplog.text) == survive
    fake.behave()
    wait_until(lambda: not psutil.pid_exists(fake.pid), "its end")


async def test_closing_without_a_child_names_the_remaining_jobs(
    fake: FakeChild, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """It never raises; the job ids are in the log, for qdel."""
    launcher = await open_fake(fake, ends)
    nodes = await launcher.submit(REQUEST, 1)
    fake.behave("fails-later")
    fake.kill()
    await until(lambda: "not a second time" in caplog.text, "a restart")
    await launcher.aclose(timeout=2)
    assert f"not deleted yet: job {nodes[0].job}" in caplog.text
