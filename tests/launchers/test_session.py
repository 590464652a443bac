"""The launcher's verbs, over a session that may do anything."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any

import psutil
import pytest

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.errors import DrmCommunicationError, LauncherError, SubmitError
from dask_gridengine.grid_types import AccountingRecord, NodeId, NodeRequest
from dask_gridengine.launchers.protocol import unpack
from dask_gridengine.launchers.session import SessionLauncher
from dask_gridengine.launchers.supervisor import GridInfo
from tests.launchers.conftest import Ends, Fake
from tests.waiting import until, wait_until

REQUEST = NodeRequest(name="x", command=("sleep", "1"), native="-q long.q")


async def open_fake(fake: Fake, ends: Ends, **changes: Any) -> SessionLauncher:
    return await SessionLauncher.open(fake.program(**changes), ends)


def test_a_launcher_introduces_itself(fake: Fake, ends: Ends) -> None:
    """Its kind, and one line for people with what the session said."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        assert (launcher.kind, launcher.description) == ("fake", "a fake (FAKE 1.0)")
        await launcher.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("behaviour", ["ends-first", "ends-after"])
def test_no_end_comes_before_its_node_is_known(
    fake: Fake, ends: Ends, behaviour: str
) -> None:
    """However quickly a node ends, who awaits its submission hears of it first."""
    fake.behave(behaviour)

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 3)
        assert ends.seen == []
        assert [node.index for node in nodes] == [1, 2, 3]
        assert {end.exit_status for end in await ends.of(nodes)} <= {7, 8}
        await launcher.aclose()

    asyncio.run(main())


def test_a_refusal_keeps_the_grids_words(fake: Fake, ends: Ends) -> None:
    """And what was asked for, so that it can be checked with qsub."""
    fake.behave("refuses-submit")

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        with pytest.raises(SubmitError, match=r"no such queue\n.*7 nodes with -q long"):
            await launcher.submit(REQUEST, 7)
        await launcher.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("verb", ["submit", "cancel"])
@pytest.mark.parametrize(
    ("how", "error", "told"),
    [
        ("cannot", DrmCommunicationError, "master is gone"),
        ("fails", LauncherError, "out of cheese"),
    ],
)
def test_trouble_keeps_its_kind(
    fake: Fake, ends: Ends, verb: str, how: str, error: type[Exception], told: str
) -> None:
    """A grid that does not answer can be told from one that says something else."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 1)
        fake.behave(f"{how}-{verb}")
        asked = {
            "submit": launcher.submit(REQUEST, 1),
            "cancel": launcher.cancel(nodes),
        }
        with pytest.raises(error, match=told) as caught:
            await asked.pop(verb)
        for coroutine in asked.values():
            coroutine.close()
        assert type(caught.value) is error
        await launcher.aclose()

    asyncio.run(main())


def test_only_nodes_that_live_are_cancelled(fake: Fake, ends: Ends) -> None:
    """Of nodes already gone, and of none at all, the session hears nothing."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 3)
        await launcher.cancel(nodes[:2])
        (end, _) = await ends.of(nodes[:2])
        assert end.cancelled
        await launcher.cancel([nodes[0], NodeId("nobody", 1)])
        await launcher.cancel([])
        await launcher.aclose()

    asyncio.run(main())
    assert len(fake.heard_of("cancel")) == 1


def test_the_session_is_told_of_silent_nodes_that_live(fake: Fake, ends: Ends) -> None:
    """Of nodes already gone, and of none at all, it hears nothing."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 3)
        await launcher.cancel(nodes[:1])
        await ends.of(nodes[:1])
        await launcher.ask_about(nodes)
        await launcher.ask_about([nodes[0], NodeId("nobody", 1)])
        await launcher.ask_about([])
        await launcher.aclose()
        (asked,) = fake.heard_of("ask")
        assert unpack(asked["nodes"]) == nodes[1:]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("cannot-ask", "master is gone"),
        ("fails-ask", "out of cheese"),
        ("dies-of-ask", "killed by SIGSEGV"),
    ],
)
def test_asking_is_never_trouble(
    fake: Fake, ends: Ends, trouble: str, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Silence of the grid is no news to one who asks because of silence."""
    fake.behave(trouble)

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 1)
        await launcher.ask_about(nodes)
        heard = "the grid could not be asked: "
        await until(lambda: heard in caplog.text, "a word in the log")
        assert told in caplog.text.partition(heard)[2]
        await launcher.ask_about(nodes)
        await launcher.aclose()
        await launcher.ask_about(nodes)

    with caplog.at_level(logging.DEBUG):
        asyncio.run(main())


def test_hosts_and_accounts_are_the_programs_business(fake: Fake, ends: Ends) -> None:
    """It asks the grid's own commands; one that knows none says None."""
    account = AccountingRecord("node1", "", 0, 3.0, 0)

    class Known(GridInfo):
        async def hosts(self, native: str) -> frozenset[str]:
            return frozenset({native})

        async def account(self, node: NodeId, timeout: float) -> AccountingRecord:
            return replace(account, ran=timeout)

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        assert await launcher.hosts("-q x") is None
        assert await launcher.queue_limit("x.q") is None
        assert await launcher.report("1", "") is None
        assert await launcher.suspended() is None
        assert await launcher.account(NodeId("1", 1)) is None
        await launcher.aclose()
        launcher = await open_fake(fake, ends, grid_info=lambda ready: Known())
        assert await launcher.hosts("-q x") == {"-q x"}
        assert await launcher.account(NodeId("1", 1), timeout=3.0) == account
        await launcher.aclose()

    asyncio.run(main())


def test_a_cancelled_submission_is_deleted_once_it_lands(
    fake: Fake, ends: Ends
) -> None:
    """The call cannot be recalled; nothing of it is reported, and nothing stays."""
    fake.behave("hesitates-submit")

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        submitting = asyncio.create_task(launcher.submit(REQUEST, 3))
        await until(lambda: fake.heard_of("submit"), "the request sent")
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        fake.behave("ends-first")
        await until(lambda: fake.heard_of("cancel"), "the deletion")
        await launcher.aclose()

    asyncio.run(main())
    ((job, runs),) = fake.heard_of("cancel")[0]["nodes"].items()
    assert job
    assert runs == [[1, 3]]
    assert ends.seen == []


def test_a_submission_without_an_answer_is_given_up_and_deleted(
    fake: Fake, ends: Ends
) -> None:
    """Every wait has its deadline; what is queued late all the same goes again."""
    fake.behave("hesitates-submit")

    async def main() -> None:
        launcher = await open_fake(fake, ends, answering=0.2)
        with pytest.raises(DrmCommunicationError, match=r"no answer .* in 0.2 s"):
            await launcher.submit(REQUEST, 3)
        fake.behave()
        await until(lambda: fake.heard_of("cancel"), "the deletion")
        await launcher.aclose()

    asyncio.run(main())


def test_a_submission_that_kills_its_session_may_be_repeated(
    fake: Fake, ends: Ends
) -> None:
    """Nothing is known of it; a new session is to look for what it may have queued."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        fake.behave("dies-of-submit")
        with pytest.raises(DrmCommunicationError, match="SIGSEGV"):
            await launcher.submit(REQUEST, 1)
        fake.behave()
        assert len(await launcher.submit(REQUEST, 2)) == 2
        await until(
            lambda: fake.heard_of("delete_unacknowledged"), "the order to look for it"
        )
        await launcher.aclose()

    asyncio.run(main())
    submission_id = fake.heard_of("submit")[0]["request"]["environment"][SUBMISSION]
    (delete_unacknowledged,) = fake.heard_of("delete_unacknowledged")
    assert (delete_unacknowledged["name"], delete_unacknowledged["submission_id"]) == (
        REQUEST.name,
        submission_id,
    )
    assert fake.heard_of("submit")[1]["request"]["environment"] != {
        SUBMISSION: submission_id
    }


def test_cancelling_outlives_its_session(fake: Fake, ends: Ends) -> None:
    """The successor is told what to delete; the caller need not ask again."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 2)
        fake.behave("dies-of-cancel")
        await launcher.cancel(nodes)
        assert fake.heard_of("adopt")[0]["cancelled"] == {nodes[0].job: [[1, 2]]}
        fake.behave()
        await launcher.aclose()

    asyncio.run(main())


def test_after_the_death_of_a_session_with_its_nodes_nothing_works(
    fake: Fake, ends: Ends
) -> None:
    """Submissions raise, cancelling is a no-op, closing is quick and quiet."""

    async def main() -> None:
        launcher = await open_fake(fake, ends, nodes_outlive_it=False)
        nodes = await launcher.submit(REQUEST, 2)
        fake.kill()
        await ends.of(nodes)
        with pytest.raises(LauncherError, match="killed by SIGKILL") as caught:
            await launcher.submit(REQUEST, 1)
        assert not isinstance(caught.value, DrmCommunicationError)
        await launcher.cancel(nodes)
        await launcher.aclose()

    asyncio.run(main())


def test_closing_reports_what_is_left_and_refuses_the_rest(
    fake: Fake, ends: Ends
) -> None:
    """A node whose end the grid has not told yet counts as cancelled."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 2)
        await asyncio.gather(launcher.aclose(), launcher.aclose())
        assert [end.cancelled for end in await ends.of(nodes)] == [True, True]
        await launcher.aclose()
        with pytest.raises(LauncherError, match="this fake launcher is closed"):
            await launcher.submit(REQUEST, 1)
        await launcher.cancel(nodes)

    asyncio.run(main())
    assert len(fake.heard_of("close")) == 1


def test_closing_goes_on_when_its_caller_is_cancelled(fake: Fake, ends: Ends) -> None:
    """Ctrl-C while a cluster closes must not leave its jobs."""
    fake.behave("hesitates-close")

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        closing = asyncio.create_task(launcher.aclose())
        await until(lambda: fake.heard_of("close"), "the request sent")
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        fake.behave()
        await launcher.aclose()
        assert not psutil.pid_exists(fake.pid)

    asyncio.run(main())


@pytest.mark.parametrize("outlive", [True, False])
def test_closing_is_bounded(
    fake: Fake, ends: Ends, outlive: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A session that does not close is killed, unless it has jobs to delete."""
    fake.behave("ignores-close", "immortal")

    async def main() -> None:
        launcher = await open_fake(fake, ends, nodes_outlive_it=outlive)
        (node,) = await launcher.submit(REQUEST, 1)
        start = time.monotonic()
        await launcher.aclose(timeout=1)
        assert time.monotonic() - start < 2
        if not outlive:
            await until(lambda: not psutil.pid_exists(fake.pid), "its end")
        assert psutil.pid_exists(fake.pid) == outlive
        warned = f"not deleted yet: job {node.job}; process {fake.pid} goes on trying"
        assert (warned in caplog.text) == outlive

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    fake.behave()
    wait_until(lambda: not psutil.pid_exists(fake.pid), "its end")


def test_closing_without_a_session_finds_one_or_says_what_stays(
    fake: Fake, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """It never raises; the job ids are in the log, for qdel."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        nodes = await launcher.submit(REQUEST, 1)
        fake.behave("fails-later")
        fake.kill()
        await until(lambda: "not a second time" in caplog.text, "a try to replace it")
        await launcher.aclose(timeout=2)
        assert f"not deleted yet: job {nodes[0].job}" in caplog.text

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())


def test_notes_are_logged(
    fake: Fake, ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    """What people should know of the grid's master reaches them."""

    async def main() -> None:
        launcher = await open_fake(fake, ends)
        fake.behave("notes-submit")
        await launcher.submit(REQUEST, 1)
        await launcher.aclose()

    with caplog.at_level(logging.WARNING):
        asyncio.run(main())
    assert "the master is on holiday" in caplog.text
