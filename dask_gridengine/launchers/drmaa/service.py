"""What the DRMAA session does all day.

One thread does everything in turn: requests, end notices, deletions, questions about
nodes that have gone silent. Measured on Son of Grid Engine 8.1.9: looking for a notice
costs 0.1 ms, so polling needs no second thread, and a call that blocks (two minutes,
if the master is stopped) blocks when there are no notices either.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from argparse import Namespace
from functools import partial

from dask_gridengine.batch.base import SUBMISSION, Runner
from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import EndNotice
from dask_gridengine.launchers.child import (
    ParentPipe,
    complain,
    end_fields,
    remove_shared_directory,
)
from dask_gridengine.launchers.commands import run_command
from dask_gridengine.launchers.drmaa.jobs import Jobs, TaskRange
from dask_gridengine.launchers.drmaa.library import (
    Failed,
    Library,
    SubmissionRejected,
    Unreachable,
)
from dask_gridengine.launchers.protocol import (
    COMMUNICATION,
    INTERNAL,
    REFUSED,
    Message,
    pack,
    unpack,
    unpack_request,
)

POLL = 0.2  # seconds between looks for end notices
PERSISTENCE = 3600.0  # seconds it tries to delete its jobs when the parent is gone
LINGER = 15.0  # seconds it waits for deleted nodes to be gone


class Service:
    """Serves the parent until it asks to close or is gone."""

    def __init__(
        self,
        pipe: ParentPipe,
        library: Library,
        options: Namespace,
        run: Runner | None = None,
    ) -> None:
        self._pipe, self._library = pipe, library
        self._run = run or partial(run_command, environment=os.environ)
        self._cleanup = options.cleanup
        self._jobs = Jobs(
            library,
            on_end=self._say_end,
            on_note=self._say_note,
            find=self._find,
            delete_neighbours=self._delete_neighbours,
        )
        self._close: Message | None = None  # the request to close
        self._deadline = 0.0  # of closing, or of leaving
        self._leaving = False  # nobody is there to serve any more
        self._terminated = False

    def run(self) -> None:
        """Serve; returns when nothing is left to do."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        self._pipe.send(
            "ready", system=self._library.system, contact=self._library.contact
        )
        while not self._done():
            self._listen()
            self._jobs.turn()
        with contextlib.suppress(Unreachable, Failed):
            self._library.exit()

    def _listen(self) -> None:
        pause = 0 if self._jobs.busy else POLL
        if self._leaving:
            time.sleep(pause)
            return
        if select.select([self._pipe], [], [], pause)[0]:
            for message in self._pipe.receive():
                self._execute(message)
        if self._pipe.parent_gone or self._terminated:
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self._deadline = steady_time() + PERSISTENCE
        self._jobs.delete_all()

    def _done(self) -> bool:
        """Whether this session is over; moves it on towards its end."""
        now = steady_time()
        if self._leaving:
            return self._may_go(now)
        if self._close is None or (self._jobs.live and now < self._deadline):
            return False
        self._pipe.send("reply", id=self._close["id"], left=self._jobs.live)
        if self._jobs.undeleted:
            self._leave()
            return False
        return True

    def _may_go(self, now: float) -> bool:
        if now < self._deadline and self._jobs.undeleted:
            return False
        if self._pipe.outlives_parent():  # else it removes its directory itself
            # Nodes hold their logs open; on NFS that keeps the directory from going.
            if self._jobs.live and now < self._deadline - PERSISTENCE + LINGER:
                return False
            remove_shared_directory(self._cleanup)
        if self._jobs.undeleted:
            complain(f"gave up with {self._jobs.live} nodes undeleted")
        return True

    def _execute(self, message: Message) -> None:
        kind, number = message["kind"], message["id"]
        if kind == "submit":
            self._submit(message)
        elif kind == "cancel":
            self._jobs.delete(unpack(message["nodes"]))
            self._pipe.send("reply", id=number)
        elif kind == "ask":
            self._jobs.ask(unpack(message["nodes"]))
            self._pipe.send("reply", id=number)
        elif kind == "adopt":
            self._jobs.adopt(unpack(message["nodes"]))
            self._jobs.delete(unpack(message["cancelled"]))
            self._pipe.send("reply", id=number)
        elif kind == "delete_unacknowledged":
            self._jobs.delete_unacknowledged(message["name"], message["submission_id"])
            self._pipe.send("reply", id=number)
        elif kind == "close":
            self._close = message
            self._deadline = steady_time() + message["timeout"]
            self._jobs.delete_all()
        else:
            text = f"no such request: {kind!r}"
            self._pipe.send("reply", id=number, error=INTERNAL, text=text)

    def _submit(self, message: Message) -> None:
        number, request = message["id"], unpack_request(message["request"])
        try:
            nodes = self._library.submit(request, message["count"])
        except SubmissionRejected as exc:
            self._pipe.send("reply", id=number, error=REFUSED, text=str(exc))
        except Unreachable as exc:
            self._jobs.failed(str(exc))
            self._jobs.delete_unacknowledged(
                request.name, request.environment.get(SUBMISSION, "")
            )
            self._pipe.send("reply", id=number, error=COMMUNICATION, text=str(exc))
        except Failed as exc:
            self._pipe.send("reply", id=number, error=INTERNAL, text=str(exc))
        else:
            self._jobs.add(nodes)
            self._pipe.send("reply", id=number, nodes=pack(nodes))

    def _find(self, name: str, submission_id: str) -> list[str]:
        try:
            return self._library.dialect.find_submission(name, submission_id, self._run)
        except (LookupError, FileNotFoundError) as exc:
            raise Failed(f"cannot look for lost submissions: {exc}") from exc
        except subprocess.CalledProcessError as exc:
            said = (exc.stderr or "").strip() or f"it ended with {exc.returncode}"
            raise Unreachable(f"{exc.cmd[0]}: {said}") from exc
        except (OSError, subprocess.SubprocessError) as exc:
            raise Unreachable(str(exc)) from exc

    def _delete_neighbours(self, group: TaskRange) -> bool:
        delete = self._library.dialect.delete_tasks
        try:
            return delete(group.job, group.first, group.last, self._run)
        except (OSError, subprocess.SubprocessError):
            return False  # whatever is the matter, DRMAA will say it

    def _say_end(self, end: EndNotice) -> None:
        self._pipe.send("end", **end_fields(end))

    def _say_note(self, text: str) -> None:
        self._pipe.send("note", text=text)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True
