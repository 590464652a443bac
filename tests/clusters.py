"""Clusters for tests of the command line: running, dead, and on a simulated grid."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from dask_gridengine import GridEngineCluster
from dask_gridengine.batch.base import write_directory
from dask_gridengine.batch.commands import Runner
from dask_gridengine.batch.sge import GridEngine
from dask_gridengine.bootstrap.connection_file import (
    Connection,
    CurveKeys,
    make_private_directory,
)
from dask_gridengine.cli import gridengine
from dask_gridengine.cli.discovery import Discovery, discover
from dask_gridengine.process_identity import ProcessIdentity


def discovered(shared: Path, run: Runner) -> Discovery:
    """Find clusters where Grid Engine is set up, with these commands."""
    return discover(shared, run, [GridEngine()])


DASK = str(Path(sys.executable).with_name("dask"))


@contextlib.contextmanager
def running(shared: Path, **options: Any) -> Iterator[GridEngineCluster]:
    """Run a cluster of local processes with its own event loop."""
    given: dict[str, Any] = {
        "launcher": "process",
        "shared_directory": shared,
        "name": "mine",
        "quiet": True,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        **options,
    }
    with GridEngineCluster(**given) as cluster:
        yield cluster


def typed(*arguments: str, answer: str | None = None) -> Result:
    """Run ``dask gridengine ARGUMENTS`` in this process."""
    return CliRunner().invoke(gridengine, arguments, input=answer)


def ended_process() -> ProcessIdentity:
    """Return the identity of a process of this host that has ended."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    identity = ProcessIdentity.of(process.pid)
    process.communicate()
    return identity


@contextlib.contextmanager
def deaf() -> Iterator[str]:
    """An address that accepts connections and never replies."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def closed_port() -> str:
    """An address that refuses connections."""
    with deaf() as address:
        return address


def left_behind(shared: Path, name: str = "lost", **changes: Any) -> Path:
    """Make the directory of a cluster whose process has ended."""
    directory = make_private_directory(shared, name)
    given: dict[str, Any] = {
        "cluster": name,
        "addresses": (closed_port(),),
        "server_key": CurveKeys.generate().public,
        "node_keys": CurveKeys.generate(),
        "timeout": 60.0,
        "process": ended_process(),
        "started": time.time() - 3700,
        **changes,
    }
    Connection(**given).write(directory)
    (directory / "logs").mkdir()
    (directory / "logs" / "7.1.log").write_text("on node1:\nthe last words\n")
    return directory


class FakeGrid:
    """qstat and qdel of a grid with these jobs, with the output of Son of Grid Engine.

    Parameters
    ----------
    jobs
        Job id to the directory of its cluster.
    user
        Owner of the jobs.
    silent
        Ids of the jobs that do not name their cluster's directory.
    """

    def __init__(
        self, jobs: dict[str, Path], user: str, silent: Collection[str] = ()
    ) -> None:
        self.jobs, self.user, self.silent = dict(jobs), user, silent
        self.deleted: list[str] = []

    def __call__(self, command: Any) -> str:
        if command[0] == "qdel":
            return self._delete(command[1])
        return self._listing() if "-xml" in command else self._details(command[2])

    def _delete(self, job: str) -> str:
        self.deleted.append(job)
        if self.jobs.pop(job, None) is None:
            output = f'denied: job "{job}" does not exist\n'
            raise subprocess.CalledProcessError(1, ["qdel", job], output, "")
        return f"{self.user} has deleted job {job}\n"

    def _directory(self, job: str) -> str:
        if job in self.silent:
            return ""
        return f",GRIDENGINE_DIRECTORY={write_directory(self.jobs[job])}"

    def _listing(self) -> str:
        rows = "".join(
            f"<job_list><JB_job_number>{job}</JB_job_number><state>qw</state>"
            "<tasks>1-3:1</tasks></job_list>"
            for job in self.jobs
        )
        return f"<job_info>{rows}</job_info>"

    def _details(self, ids: str) -> str:
        found = [job for job in ids.split(",") if job in self.jobs]
        return "".join(
            "==============================================\n"
            f"job_number:                 {job}\n"
            "submission_time:            Wed Nov 25 08:30:17 2026\n"
            f"owner:                      {self.user}\n"
            f"job_name:                   {self.jobs[job].name}\n"
            "env_list:                   TERM=NONE,GRIDENGINE_SUBMISSION=f33513"
            f"{self._directory(job)}\n"
            "job_args:                   -c,exec python -m dask_gridengine.node\n"
            for job in found
        )
