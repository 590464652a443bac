"""A fake session for the tests of what speaks with one, and ends to wait for."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.protocol import Message, decode
from dask_gridengine.launchers.supervisor import SessionProgram
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

    async def of(self, nodes: Any, timeout: float = 10) -> list[EndNotice]:
        """Wait until all these have ended; their ends, in the order of `nodes`."""
        await until(
            lambda: set(self.nodes) >= set(nodes),
            f"ends of {nodes}",
            timeout,
            lambda: self.seen,
        )
        by_node = {end.node: end for end in self.seen}
        assert len(by_node) == len(self.seen), "an end was reported twice"
        return [by_node[node] for node in nodes]


@pytest.fixture
def ends() -> Ends:
    """What a launcher reports its ends to."""
    return Ends()


@dataclass
class Fake:
    """A fake session's behaviour, and what it has heard."""

    directory: Path

    def behave(self, *words: str) -> None:
        """From now on; see `fake_session` for the words."""
        new = self.directory / "behaviour.new"
        new.write_text("\n".join(words))
        new.rename(self.directory / "behaviour")

    @property
    def heard(self) -> list[Message]:
        path = self.directory / "heard"
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [decode(line) for line in lines]

    def heard_of(self, kind: str) -> list[Message]:
        return [message for message in self.heard if message["kind"] == kind]

    def kill(self) -> None:
        """SIGKILL to the child that spoke last."""
        os.kill(self.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return int((self.directory / "pid").read_text())

    def program(self, **changes: Any) -> SessionProgram:
        """For a launcher, with short times."""
        settings: dict[str, Any] = {
            "kind": "fake",
            "module": "tests.launchers.fake_session",
            "arguments": (str(self.directory),),
            "describe": lambda ready: f"a fake ({ready['system']})",
            "advise": lambda failed: f"grow {failed.get('lacking', 'up')}",
            "nodes_outlive_it": True,
            "opening": 5.0,
            "answering": 5.0,
            "respawn": (0.0, 0.05, 0.1),
        }
        return SessionProgram(**{**settings, **changes})


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A fake session that behaves well until told otherwise."""
    fake = Fake(tmp_path)
    fake.behave()
    return fake
