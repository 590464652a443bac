"""One session child, its requests and its end."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import psutil
import pytest

from dask_gridengine.launchers.channel import Channel, SessionDied
from dask_gridengine.launchers.protocol import Message
from tests.launchers.conftest import Fake
from tests.waiting import until, wait_until


class Listener:
    """Hears events and the death of a channel."""

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.deaths: list[str] = []

    async def open(self, fake: Fake, timeout: float = 5) -> Channel:
        return await Channel.open(
            "tests.launchers.fake_session",
            arguments=[str(fake.directory)],
            on_event=self.events.append,
            on_death=self.deaths.append,
            timeout=timeout,
        )


def test_replies_find_their_requests(fake: Fake) -> None:
    """In any number at once; the first message is kept as the hello."""

    async def main() -> None:
        listener = Listener()
        channel = await listener.open(fake)
        assert channel.hello["system"] == "FAKE 1.0"
        replies = [channel.ask("submit", count=n) for n in range(1, 50)]
        for count, reply in enumerate(replies, 1):
            ((runs,),) = (await reply)["nodes"].values()
            assert runs == [1, count]
        assert await channel.aclose(timeout=5)
        assert listener.deaths == []

    asyncio.run(main())


def test_big_messages_go_both_ways(fake: Fake) -> None:
    """No limit of a line breaks a request: an environment may be long."""

    async def main() -> None:
        channel = await Listener().open(fake)
        await channel.ask("cancel", nodes={"1": []}, padding="x" * 3_000_000)
        assert await channel.aclose(timeout=5)

    asyncio.run(main())
    assert len(fake.heard[0]["padding"]) == 3_000_000


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("dies-at-start", r"ended with exit status 1; .*\n  cannot find\n  my feet"),
        ("silent", r"said nothing for 0.7 s"),
        ("babbles", r"said what is no message: b'Hello, I am a library"),
    ],
)
def test_a_child_that_does_not_start_is_told_of(
    fake: Fake, behaviour: str, told: str
) -> None:
    """With its last words, within the time given, and it is gone afterwards."""
    fake.behave(behaviour)
    listener = Listener()
    with pytest.raises(SessionDied, match=told):
        asyncio.run(listener.open(fake, timeout=0.7))
    assert listener.deaths == []


def test_a_death_fails_what_was_asked_and_is_told_once(fake: Fake) -> None:
    """With the signal and what C wrote to stderr; later requests fail at once."""
    fake.behave("dies-of-submit", "ignores-cancel")

    async def main() -> None:
        listener = Listener()
        channel = await listener.open(fake)
        asked = [channel.ask("cancel"), channel.ask("submit"), channel.ask("cancel")]
        await asyncio.wait(asked, timeout=5)
        asked.append(channel.ask("cancel"))
        for reply in asked:
            with pytest.raises(SessionDied, match=r"SIGSEGV.*\n  Assertion"):
                await reply
        assert len(listener.deaths) == 1
        assert await channel.aclose(timeout=5)

    asyncio.run(main())


def test_babble_in_mid_life_is_a_death(fake: Fake) -> None:
    """A child that cannot be understood any more is not trusted with requests."""

    async def main() -> None:
        listener = Listener()
        channel = await listener.open(fake)
        fake.behave("babbles-at-submit")
        channel.ask("submit", count=1)
        await until(lambda: listener.deaths, "its death")
        assert "no message: b'error: commlib error'" in listener.deaths[0]

    asyncio.run(main())


def test_a_child_that_closes_its_pipes_and_stays_is_killed(fake: Fake) -> None:
    """The event loop serves others while it waits for the child's exit."""
    fake.behave("closes-pipes-at-submit")

    async def main() -> None:
        listener = Listener()
        channel = await listener.open(fake)
        child = psutil.Process(channel.pid)
        channel.ask("submit", count=1)
        await until(lambda: child.num_fds() < 3, "closed pipes")
        turns = 0
        while not listener.deaths:
            await asyncio.sleep(0.01)
            turns += 1
        assert "closed its pipes" in listener.deaths[0]
        assert turns > 3
        await until(lambda: not psutil.pid_exists(channel.pid), "its end")

    asyncio.run(main())


def test_a_child_that_does_not_go_can_be_killed(fake: Fake) -> None:
    """Closing says that it did not end in time."""
    fake.behave("immortal")

    async def main() -> None:
        listener = Listener()
        channel = await listener.open(fake)
        assert not await channel.aclose(timeout=0.2)
        channel.kill()
        await until(lambda: not psutil.pid_exists(channel.pid), "its end")
        assert listener.deaths == []

    asyncio.run(main())


def test_a_child_that_is_let_go_lives_on(fake: Fake) -> None:
    """Neither the end of the loop nor the end of our process takes it along."""
    fake.behave("immortal")
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from tests.launchers.conftest import Fake\n"
        "from tests.launchers.test_channel import Listener\n"
        "async def main():\n"
        "    channel = await Listener().open(Fake(Path(sys.argv[1])))\n"
        "    await channel.aclose(timeout=0.1)\n"
        "    channel.detach()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-W", "error", "-c", program, str(fake.directory)]
    ran = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert ran.stderr == b""
    assert psutil.pid_exists(fake.pid)
    fake.behave()
    wait_until(lambda: not psutil.pid_exists(fake.pid), "its end")
