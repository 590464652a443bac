"""The DRMAA session with a grid of its own making, run as the real one is.

Everything is real but the `Library`: its jobs run for ever, and end when they are
deleted or when a file ``end-JOB.INDEX`` with an exit status appears. While there is a
file ``down`` the master does not answer. ``deleted`` lists what was deleted, ``asked``
what was asked about, and ``sought`` which lost submissions were looked for; each is
found to be job 77.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Collection
from pathlib import Path

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.child import ParentPipe, parse_arguments
from dask_gridengine.launchers.drmaa.library import (
    EVERYTHING,
    NO_RECORD,
    Failed,
    State,
    SubmissionRejected,
    Unreachable,
)
from dask_gridengine.launchers.drmaa.service import Service


class Findable(GridEngine):
    """Asks the library where Grid Engine asks qstat."""

    def __init__(self, library: FakeLibrary) -> None:
        self._library = library

    def find_submission(self, name: str, submission_id: str, run: Runner) -> list[str]:
        try:
            return self._library.find(name, submission_id)
        except Unreachable as exc:
            raise OSError(str(exc)) from exc

    def delete_tasks(self, job: str, first: int, last: int, run: Runner) -> bool:
        return False


class FakeLibrary:
    """What `Library` is to the service."""

    system = "SGE 8.1.9 (fake)"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.contact = str(directory)
        self.jobs = 0
        self.live: set[NodeId] = set()
        self.notices: deque[EndNotice] = deque()
        self.dialect = Findable(self)

    def follow(self, nodes: Collection[NodeId]) -> None:
        """It knows them already."""

    def reach(self) -> None:
        if (self.directory / "down").exists():
            raise Unreachable("unable to contact qmaster")

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        self.reach()
        if request.native == "-q nowhere":
            raise SubmissionRejected('Job was rejected: unknown queue "nowhere"')
        if request.native == "-q cheese":
            raise Failed("out of cheese")
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
        self.reach()
        with (self.directory / "asked").open("a") as file:
            file.write(f"{node}\n")
        return State.ALIVE if node in self.live else State.UNKNOWN

    def delete(self, job_id: str) -> None:
        self.reach()
        with (self.directory / "deleted").open("a") as file:
            file.write(f"{job_id}\n")
        time.sleep(0.01)
        if (self.directory / "stubborn").exists():
            return
        for node in sorted(self.live):
            if job_id in (node.job, str(node), EVERYTHING):
                self.live.discard(node)
                end = EndNotice(node=node, reason=NO_RECORD, deleted=True)
                self.notices.append(end)

    def find(self, name: str, submission_id: str) -> list[str]:
        self.reach()
        with (self.directory / "sought").open("a") as file:
            file.write(f"{name} {submission_id}\n")
        return ["77"]

    def exit(self) -> None:
        with (self.directory / "deleted").open("a") as file:
            file.write("exit\n")


def main() -> None:
    """What a session's module must have; ``--contact`` names its directory."""
    options = parse_arguments(sys.argv[1:])
    library = FakeLibrary(Path(options.contact))
    pipe = ParentPipe(options.parent)
    Service(pipe, library, options).run()  # type: ignore[arg-type]
