"""The DRMAA child with a fake grid, started as the real one is.

Everything is real but the `Library`: its jobs run for ever, and end when they are
deleted or when a file ``end-JOB.INDEX`` with an exit status appears. While a file
``down`` exists the master does not answer, while ``stubborn`` exists jobs do not end.
The files ``deleted``, ``checked`` and ``searched`` list the calls; every search for a
submission finds job 77.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.child import ParentPipe, parse_arguments
from dask_gridengine.launchers.drmaa.library import (
    ALL_JOBS,
    NO_RECORD,
    CallFailed,
    State,
    SubmissionRejected,
    Unreachable,
)
from dask_gridengine.launchers.drmaa.process import Service


class FakeLibrary:
    """Has the methods of `Library` that the service calls."""

    system = "SGE 8.1.9 (fake)"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.contact = str(directory)
        self.batch_system = GridEngine()
        self.jobs = 0
        self.live: set[NodeId] = set()
        self.notices: deque[EndNotice] = deque()

    def count_ending(self) -> None:
        """Its jobs end at once."""

    def take_over(self, nodes: Collection[NodeId]) -> None:
        """They are in `live` if they belong to this grid."""

    def call(self, log: str, text: str) -> None:
        """Record a call, or raise if the master is down."""
        if (self.directory / "down").exists():
            raise Unreachable("unable to contact qmaster")
        with (self.directory / log).open("a") as file:
            file.write(f"{text}\n")

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        self.call("submitted", request.name)
        if request.native == "-q nowhere":
            raise SubmissionRejected('Job was rejected: unknown queue "nowhere"')
        if request.native == "-q cheese":
            raise CallFailed("out of cheese")
        self.jobs += 1
        nodes = [NodeId(str(self.jobs), index + 1) for index in range(count)]
        self.live.update(nodes)
        return nodes

    def next_end(self) -> EndNotice | None:
        for path in self.directory.glob("end-*"):
            job, _, index = path.name.removeprefix("end-").partition(".")
            status = int(path.read_text())
            path.unlink()
            self.live.discard(node := NodeId(job, int(index)))
            self.notices.append(EndNotice(node=node, exit_status=status))
        return self.notices.popleft() if self.notices else None

    def state(self, node: NodeId) -> State:
        self.call("checked", str(node))
        return State.LIVE if node in self.live else State.UNKNOWN

    def delete(self, job_id: str) -> None:
        self.call("deleted", job_id)
        time.sleep(0.01)
        if (self.directory / "stubborn").exists():
            return
        for node in sorted(self.live):
            if job_id in (node.job, str(node), ALL_JOBS):
                self.live.discard(node)
                end = EndNotice(node=node, reason=NO_RECORD, deleted=True)
                self.notices.append(end)

    def delete_range(self, job: str, first: int, last: int) -> bool:
        return False

    def find_submission(self, name: str, submission_id: str) -> list[str]:
        self.call("searched", f"{name} {submission_id}")
        return ["77"]

    def exit(self) -> None:
        (self.directory / "down").unlink(missing_ok=True)
        self.call("deleted", "exit")


def main() -> None:
    """Run as the ``main`` of every child; ``--contact`` names the directory."""
    options = parse_arguments(sys.argv[1:])
    library = FakeLibrary(Path(options.contact))
    pipe = ParentPipe(options.parent)
    Service(pipe, library, options).run()  # type: ignore[arg-type]
