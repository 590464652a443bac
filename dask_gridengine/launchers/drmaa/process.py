"""The DRMAA launcher's child process: ``dask_gridengine.launchers.drmaa.process``.

One thread does everything in turn: requests, end notices, deletions, node checks.
Measured on Son of Grid Engine 8.1.9: a poll for a notice costs 0.1 ms, so polling needs
no second thread, and a call that blocks (two minutes if the master is stopped) blocks
when there are no notices either.

When its parent ends, for whatever reason, it deletes every job and then ends too.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from argparse import Namespace
from functools import partial

from dask_gridengine.batch.base import SUBMISSION
from dask_gridengine.batch.commands import run_command
from dask_gridengine.clock import steady_time
from dask_gridengine.launchers.child import (
    ParentPipe,
    parse_arguments,
    remove_shared_directory,
    write_error,
)
from dask_gridengine.launchers.drmaa.discovery import (
    INSTALL_LIBRARY,
    STATIC_TLS_TUNABLE,
)
from dask_gridengine.launchers.drmaa.jobs import Jobs
from dask_gridengine.launchers.drmaa.library import (
    CallFailed,
    Library,
    SubmissionRejected,
    Unreachable,
)
from dask_gridengine.launchers.messages import (
    INTERNAL,
    READY,
    REJECTED,
    UNREACHABLE,
    Message,
    decode_request,
    from_ranges,
    to_ranges,
)

INSTALL_PACKAGE = "pip install drmaa, for the Python that runs this"
POLL_INTERVAL = 0.2  # seconds between polls for end notices
DELETE_TIMEOUT = 3600.0  # seconds it tries to delete its jobs after its parent has gone
END_TIMEOUT = 15.0  # seconds it waits for the end of deleted nodes then


class Service:
    """Serves the parent until the parent asks it to close or is gone."""

    def __init__(self, pipe: ParentPipe, library: Library, options: Namespace) -> None:
        self._pipe, self._library = pipe, library
        self._cleanup = options.cleanup
        self._jobs = Jobs(library, on_end=pipe.send_end, on_note=self._send_note)
        self._close: Message | None = None  # the request to close
        self._deadline = 0.0  # of closing, or of leaving
        self._leaving = False  # it has no parent any more
        self._terminated = False

    def run(self) -> None:
        """Serve; return when nothing is left to do."""
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        library = self._library
        self._pipe.send(
            "reply",
            id=READY,
            system=library.system,
            contact=library.contact,
            batch_system=library.batch_system.name,
        )
        while not self._done():
            self._receive()
            self._jobs.run_once()
        with contextlib.suppress(Unreachable, CallFailed):
            library.exit()

    def _receive(self) -> None:
        pause = 0 if self._jobs.busy else POLL_INTERVAL
        if self._leaving:
            time.sleep(pause)
            return
        if select.select([self._pipe], [], [], pause)[0]:
            for message in self._pipe.receive():
                self._handle(message)
        if self._pipe.parent_gone or self._terminated:
            self._leave()

    def _leave(self) -> None:
        self._leaving = True
        self._deadline = steady_time() + DELETE_TIMEOUT
        self._jobs.delete_all()

    def _done(self) -> bool:
        """Whether nothing is left to do; also replies to the request to close."""
        now = steady_time()
        if self._leaving:
            return self._may_exit(now)
        if self._close is None or (self._jobs.num_live and now < self._deadline):
            return False
        self._pipe.send("reply", id=self._close["id"])
        if self._jobs.undeleted:
            self._leave()
            return False
        return True

    def _may_exit(self, now: float) -> bool:
        if now < self._deadline and self._jobs.undeleted:
            return False
        if self._pipe.outlives_parent():  # otherwise the parent removes its directory
            # Nodes have their logs open; on NFS that keeps the directory from going.
            end_deadline = self._deadline - DELETE_TIMEOUT + END_TIMEOUT
            if self._jobs.num_live and now < end_deadline:
                return False
            remove_shared_directory(self._cleanup)
        if self._jobs.undeleted:
            write_error(f"gave up with {self._jobs.num_live} nodes undeleted")
        return True

    def _handle(self, message: Message) -> None:
        kind = message["kind"]
        result: Message = {}
        if kind == "submit":
            result = self._submit(message)
        elif kind == "cancel":
            self._jobs.delete(from_ranges(message["nodes"]))
        elif kind == "recheck":
            self._jobs.recheck(from_ranges(message["nodes"]))
        elif kind == "take_over":
            self._jobs.take_over(from_ranges(message["nodes"]))
            self._jobs.delete(from_ranges(message["cancelled"]))
        elif kind == "delete_unacknowledged":
            self._jobs.delete_unacknowledged(message["name"], message["submission_id"])
        elif kind == "close":
            self._close = message
            self._deadline = steady_time() + message["timeout"]
            self._library.count_ending()
            self._jobs.delete_all()
            return
        else:
            result = {"error": INTERNAL, "text": f"unknown request {kind!r}"}
        self._pipe.send("reply", id=message["id"], **result)

    def _submit(self, message: Message) -> Message:
        request = decode_request(message["request"])
        try:
            nodes = self._library.submit(request, message["count"])
        except SubmissionRejected as exc:
            return {"error": REJECTED, "text": str(exc)}
        except Unreachable as exc:
            self._jobs.call_failed(str(exc))
            submission_id = request.environment.get(SUBMISSION, "")
            self._jobs.delete_unacknowledged(request.name, submission_id)
            return {"error": UNREACHABLE, "text": str(exc)}
        except CallFailed as exc:
            return {"error": INTERNAL, "text": str(exc)}
        self._jobs.add(nodes)
        return {"nodes": to_ranges(nodes)}

    def _send_note(self, text: str) -> None:
        self._pipe.send("note", text=text)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True


def main() -> None:
    """Serve the parent until it closes this session or ends."""
    _remove_tunable()
    options = parse_arguments(sys.argv[1:])
    pipe = ParentPipe(options.parent)
    send_error = partial(pipe.send, "reply", id=READY, error=INTERNAL)
    try:
        library = Library(options.contact, run_command)
    except ModuleNotFoundError as exc:
        send_error(text=str(exc), advice=INSTALL_PACKAGE)
    except (OSError, RuntimeError, AttributeError) as exc:  # no (usable) libdrmaa
        send_error(text=str(exc), advice=INSTALL_LIBRARY)
    except Unreachable as exc:
        send_error(text=str(exc))
    except CallFailed as exc:  # no cell here, or no squeue
        send_error(text=str(exc))
    else:
        Service(pipe, library, options).run()


def _remove_tunable() -> None:
    """Restore the user's ``GLIBC_TUNABLES``, which ``-V`` copies into the jobs."""
    tunables = os.environ.pop("GLIBC_TUNABLES", "")
    # Ours is the last one; the user may have set the same tunable before it.
    if users := tunables.removesuffix(STATIC_TLS_TUNABLE).removesuffix(":"):
        os.environ["GLIBC_TUNABLES"] = users


if __name__ == "__main__":
    main()
