"""A site that answers as it is told, by programs of Grid Engine's names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dask_gridengine.doctor.commands import Commands
from dask_gridengine.doctor.node_report import NodeReport
from dask_gridengine.doctor.outcome import Outcome
from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.options import Options

T = TypeVar("T")
NAMES = ("qconf", "qselect", "qstat", "qsub", "qquota", "qhost")
PROGRAM = """\
#!/bin/sh
PATH=/usr/bin:/bin
said="{answers}/$(basename "$0") $(echo "$*" | tr / _)"
[ -e "$said" ] || {{ echo "nobody expected: $0 $*" >&2; exit 1; }}
if [ -e "$said.failed" ]; then cat "$said" >&2; exit 1; fi
cat "$said"
"""


class Site:
    """What its commands say."""

    def __init__(self, directory: Path) -> None:
        self._answers = directory / "answers"
        self._answers.mkdir()
        programs = directory / "bin"
        programs.mkdir()
        for name in NAMES:
            (programs / name).write_text(PROGRAM.format(answers=self._answers))
            (programs / name).chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "SGE_ROOT": str(directory)}
        self.commands = Commands(self.environment)

    def says(self, command: str, text: str, *, fails: bool = False) -> None:
        """What one command line says from now on."""
        place = self._answers / command.replace("/", "_")
        place.write_text(text + "\n")
        failed = place.with_name(place.name + ".failed")
        failed.touch() if fails else failed.unlink(missing_ok=True)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """One that says nothing yet."""
    return Site(tmp_path)


def options(**given: Any) -> Options:
    """A user's."""
    return Options.resolve({"name": "doctored", **given})


def run(awaitable: Awaitable[T]) -> T:
    """Await something in a loop of its own."""

    async def wait() -> T:
        return await awaitable

    return asyncio.run(wait())


DOOR, SCHEDULER = "10.0.0.1:14711", "10.0.0.1:8786"
VERSIONS = {"python": "3.11.7", "dask": "2026.8.0"}


@pytest.fixture
def told() -> Callable[..., Outcome]:
    """Make the outcome of a node that found all well, but for what is given."""
    return make_outcome


def make_outcome(index: int = 1, **fields: Any) -> Outcome:
    """One that looked at everything."""
    known: dict[str, Any] = {
        "job": "7",
        "index": index,
        "host": f"node{index}",
        "step": "done",
        "executable": "/usr/bin/python3",
        "versions": VERSIONS,
        "slots": 1,
        "clock": 1000.0,
        "tried": {DOOR: CONNECTED, SCHEDULER: CONNECTED},
        "via": DOOR,
        "curve": 0.02,
        "imported": 0.4,
        "scheduler": f"tls://{SCHEDULER}",
        "tls": 0.01,
        "ahead": 0.001,
        "ahead_give": 0.001,
        "listening": f"10.0.0.{index}:4000",
        "back": CONNECTED,
        "scratch": "/tmp",
        "scratch_free": 10**11,
        "scratch_speed": 1e9,
    }
    report = NodeReport.of({**known, **fields})
    assert report is not None
    node = NodeId("7", index)
    return Outcome(node=node, waited=1.0 * index, report=report, seen=1000.0)


def make_ended(index: int = 1, log: str = "on node1", **end: Any) -> Outcome:
    """One that ended without a report."""
    node = NodeId("7", index)
    return Outcome(node=node, waited=1.0, log=log, end=EndNotice(node=node, **end))
