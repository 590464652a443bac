"""A fake child process, and an end callback that remembers."""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.channel import ChildProgram
from dask_gridengine.launchers.messages import Message, decode
from tests.waiting import until


@dataclass
class Ends:
    """An end callback that remembers."""

    seen: list[EndNotice] = field(default_factory=list)

    def __call__(self, end: EndNotice) -> None:
        self.seen.append(end)

    @property
    def nodes(self) -> list[NodeId]:
        return [end.node for end in self.seen]

    async def of(
        self, nodes: Collection[NodeId], timeout: float = 10
    ) -> list[EndNotice]:
        """Wait until all these nodes have ended; return their ends in this order."""
        await until(
            lambda: set(self.nodes) >= set(nodes),
            f"ends of {nodes}",
            timeout,
            lambda: self.seen,
        )
        by_node = {end.node: end for end in self.seen}
        assert len(by_node) == len(self.seen), "an end was reported twice"
        return [by_node[node] for node in nodes]


def newest_child() -> psutil.Process:
    """Return the child process that was started last, a launcher's.

    Other tests may have left multiprocessing's helpers, which live as long as pytest.
    """
    return max(psutil.Process().children(), key=psutil.Process.create_time)


@pytest.fixture
def ends() -> Ends:
    """An end callback for a launcher."""
    return Ends()


@dataclass
class FakeChild:
    """The behaviour of the fake child, and the requests it received."""

    directory: Path

    def behave(self, *words: str) -> None:
        """Set the behaviour from now on; see `fake_child` for the words."""
        new = self.directory / "behaviour.new"
        new.write_text("\n".join(words))
        new.rename(self.directory / "behaviour")

    def received(self, kind: str) -> list[Message]:
        path = self.directory / "received"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [message for message in map(decode, lines) if message["kind"] == kind]

    def kill(self) -> None:
        """Send SIGKILL to the child that started last."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return int((self.directory / "pid").read_text())

    def program(self, **changes: Any) -> ChildProgram:
        """Return the program for a launcher, with short times."""
        settings: dict[str, Any] = {
            "kind": "fake",
            "module": "tests.launchers.fake_child",
            "arguments": (str(self.directory),),
            "advice": "the default advice",
            "nodes_survive": True,
            "start_timeout": 5.0,
            "reply_timeout": 5.0,
            "restart_delays": (0.0, 0.05, 0.1),
        }
        return ChildProgram(**{**settings, **changes})


@pytest.fixture
def fake(tmp_path: Path) -> FakeChild:
    """A fake child that answers all requests until its behaviour is changed."""
    fake = FakeChild(tmp_path)
    fake.behave()
    return fake
