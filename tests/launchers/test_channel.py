"""One child process, its requests and its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dask_gridengine.launchers.channel import Channel, ChildDied, ChildProgram
from tests.launchers.conftest import FakeChild
from tests.waiting import until, wait_until


async def open_channel(
    fake: FakeChild, timeout: float = 5
) -> tuple[Channel, list[str]]:
    """Return a channel, and a list that its death will be added to."""
    deaths: list[str] = []
    channel, ready = await Channel.open(
        fake.program(start_timeout=timeout), on_event=lambda message: None
    )
    assert ready["system"] == "FAKE 1.0"
    channel.watch(deaths.append)
    return channel, deaths


async def test_large_messages_arrive(fake: FakeChild) -> None:
    """A request has no size limit: an environment may be large."""
    channel, _ = await open_channel(fake)
    await channel.request("cancel", nodes={"1": []}, padding="x" * 3_000_000)
    assert await channel.aclose(timeout=5)
    assert len(fake.received("cancel")[0]["padding"]) == 3_000_000


@pytest.mark.parametrize(
    ("behaviour", "timeout", "problem"),
    [
        ("dies-at-start", 20, r"exit status 1; .*\n  cannot find\n  my feet"),
        ("hangs-at-start", 0.7, r"did not start within 0.7 s"),
        ("prints-at-start", 20, r"sent an invalid message: b'Hello, I am a library"),
    ],
)
def test_a_child_that_does_not_start_is_an_error(
    fake: FakeChild, behaviour: str, timeout: float, problem: str
) -> None:
    """The error has the end of its stderr, and it is gone afterwards."""
    fake.behave(behaviour)
    with pytest.raises(ChildDied, match=problem):
        asyncio.run(open_channel(fake, timeout=timeout))


async def test_a_death_fails_all_requests_and_is_reported_once(fake: FakeChild) -> None:
    """With the signal and what C wrote to stderr; later requests fail at once."""
    fake.behave("dies-at-submit", "ignores-cancel")
    channel, deaths = await open_channel(fake)
    kinds = ["cancel", "submit", "cancel"]
    replies = [channel.request(kind) for kind in kinds]
    await asyncio.wait(replies, timeout=5)
    replies.append(channel.request("cancel"))
    for reply in replies:
        with pytest.raises(ChildDied, match=r"SIGSEGV.*\n  Assertion"):
            await reply
    assert len(deaths) == 1
    with pytest.raises(ChildDied, match="SIGSEGV"):
        channel.watch(deaths.append)
    assert await channel.aclose(timeout=5)


async def test_a_child_that_sends_an_invalid_message_is_killed(fake: FakeChild) -> None:
    """It is not trusted with further requests."""
    channel, deaths = await open_channel(fake)
    fake.behave("prints-at-submit")
    channel.request("submit", count=1)
    await until(lambda: deaths, "its death")
    assert "b'error: commlib error'" in deaths[0]


async def test_a_child_that_closes_its_pipes_and_stays_is_killed(
    fake: FakeChild,
) -> None:
    """The event loop serves others while it waits for the child's exit."""
    fake.behave("closes-pipes-at-submit")
    channel, deaths = await open_channel(fake)
    process = psutil.Process(channel.pid)
    channel.request("submit", count=1)
    await until(lambda: process.num_fds() < 3, "closed pipes")
    iterations = 0
    while not deaths:
        await asyncio.sleep(0.01)
        iterations += 1
    assert "closed its pipes" in deaths[0]
    assert iterations > 3
    await until(lambda: not psutil.pid_exists(channel.pid), "its end")


async def test_a_child_that_does_not_end_can_be_killed(fake: FakeChild) -> None:
    """Closing returns that it did not end in time."""
    fake.behave("immortal")
    channel, deaths = await open_channel(fake)
    assert not await channel.aclose(timeout=0.2)
    channel.kill()
    await until(lambda: not psutil.pid_exists(channel.pid), "its end")
    assert deaths == []


def test_a_detached_child_lives_on(fake: FakeChild) -> None:
    """It survives the end of the loop and of our process."""
    fake.behave("immortal")
    script = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.launchers.conftest import FakeChild\n"
        "from tests.launchers.test_channel import open_channel\n"
        "async def main():\n"
        "    channel, _ = await open_channel(FakeChild(Path(sys.argv[1])))\n"
        "    await channel.aclose(timeout=0.1)\n"
        "    channel.detach()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(fake.directory)]
    run = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert run.stderr == b""
    assert psutil.pid_exists(fake.pid)
    fake.behave()
    wait_until(lambda: not psutil.pid_exists(fake.pid), "its end")


def test_a_users_file_is_not_taken_for_a_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook's directory may contain a queue.py or a json.py."""
    for name in ("json.py", "queue.py", "select.py", "drmaa.py"):
        (tmp_path / name).write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    module = "tests.launchers.nothing"
    program = ChildProgram(kind="fake", module=module, advice="")
    with program.start() as child:
        _, errors = child.communicate(timeout=10)
    assert b"No module named 'tests.launchers.nothing'" in errors
