"""The calls of libdrmaa that the child needs; only this imports the ``drmaa`` package.

Only one thread may use it: the package keeps one error buffer for all threads, so a
wait in another thread would sometimes replace the text of a rejection.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum
from shutil import which
from typing import Any

from dask_gridengine.batch import batch_system_of
from dask_gridengine.batch.base import ORDINAL, BatchSystem
from dask_gridengine.batch.commands import Runner
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.drmaa.job_list_poller import JobListPoller

ALL_JOBS = "DRMAA_JOB_IDS_SESSION_ALL"  # for `Library.delete`
NO_RECORD = (
    "the grid has no record of how it ended: deleted before it started, or the grid's"
    " master was restarted"
)
ABANDONED = "the grid's daemon on that host lost control of it"
DELETED = "deleted while it ran"
UNSTARTED = "the grid could not start it on that host"
APPLICATION_ERROR = "exit status 100, which means that the job cannot run on that host"


class SubmissionRejected(Exception):
    """Grid Engine rejected the array; nothing was queued."""


class Unreachable(Exception):
    """The grid's master does not answer."""


class CallFailed(Exception):
    """Any other error of libdrmaa or of the grid's commands."""


class State(Enum):
    """The states of a node that matter here."""

    LIVE = "queued, held, running or suspended"
    ENDED = "done or failed; `Library.next_end` returns how, now or later"
    UNKNOWN = "the grid has no such job"


class Library:
    """One DRMAA session, and the commands of its grid.

    `contact` names the session of a child that died, to take over its jobs. Opening
    raises `ModuleNotFoundError` if there is no ``drmaa`` package, `OSError` or
    `RuntimeError` if libdrmaa is missing or cannot be loaded, `Unreachable` or
    `CallFailed` if no session can be opened. All methods raise the last two.
    """

    def __init__(self, contact: str | None, run: Runner) -> None:
        # Loads libdrmaa, which crashes in many processes, and must not at import.
        import drmaa

        self._drmaa: Any = drmaa
        self._errors: Any = drmaa.errors
        self._session = drmaa.Session()
        self._unreachable_messages: tuple[str, ...] = ()
        with self._translated():
            self._session.initialize(contact or None)
            self.system: str = self._session.drmsInfo
            self.contact: str = self._session.contact
        self.batch_system: BatchSystem = batch_system_of(self.system, run)
        self._unreachable_messages = self.batch_system.unreachable_messages
        if missing := [c for c in self.batch_system.needed_commands if not which(c)]:
            title = self.batch_system.title
            raise CallFailed(f"{title}'s {', '.join(missing)} is not in PATH here")
        self._run = run
        self._job_list: JobListPoller | None = None
        if not self.batch_system.reliable_notices:
            self._job_list = JobListPoller(lambda: self.batch_system.list_jobs(run))

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """Queue an array; also one node is an array, so that all ids have one shape.

        Where a node could not find out its index, each node is an array of its own and
        has its number, from 1 in the order of the result, in its environment.
        Raises `SubmissionRejected` as well.
        """
        if self.batch_system.arrays:
            nodes = self._submit_array(request, count)
        else:
            nodes = self._submit_one_by_one(request, count)
        self.take_over(nodes)
        return nodes

    def take_over(self, nodes: Collection[NodeId]) -> None:
        """Report the ends of these nodes of another session, too."""
        if self._job_list is not None:
            self._job_list.add(nodes)

    def next_end(self) -> EndNotice | None:
        """Return one end notice that has arrived, if any; never wait."""
        if self._job_list is None:
            return self._next_notice()
        with self._commands():
            return self._job_list.next_end()

    def state(self, node: NodeId) -> State:
        """Ask the master about one node: a round trip of 0.3 to 3 ms."""
        if self._job_list is not None:
            return State.LIVE if self._job_list.is_live(node) else State.ENDED
        states = self._drmaa.JobState
        with self._translated():
            try:
                state = self._session.jobStatus(self.batch_system.format_job_id(node))
            except self._errors.InvalidJobException:
                return State.UNKNOWN
        return State.ENDED if state in (states.DONE, states.FAILED) else State.LIVE

    def delete(self, job_id: str) -> None:
        """Delete an array, one of its nodes, or `ALL_JOBS`; ignore what is gone."""
        terminate = self._drmaa.JobControlAction.TERMINATE
        try:
            with self._translated(), suppress(self._errors.InvalidJobException):
                self._session.control(job_id, terminate)
        except CallFailed as exc:
            if not any(text in str(exc) for text in self.batch_system.gone_messages):
                raise
        if self._job_list is not None:
            self._job_list.poll_soon()

    def count_ending(self) -> None:
        """From now on count a node as ended when the grid has begun to end it."""
        if self._job_list is not None:
            self._job_list.count_ending = True

    def delete_range(self, job: str, first: int, last: int) -> bool:
        """Delete neighbouring nodes by one command; return whether that worked."""
        try:
            return self.batch_system.delete_tasks(job, first, last, self._run)
        except (OSError, subprocess.SubprocessError):
            return False  # deleting the nodes one by one will find the same problem

    def find_submission(self, name: str, submission_id: str) -> list[str]:
        """Return the ids of the jobs of that name and submission id."""
        with self._commands():
            try:
                return self.batch_system.find_submission(name, submission_id, self._run)
            except (LookupError, FileNotFoundError) as exc:
                text = f"cannot search for unacknowledged submissions: {exc}"
                raise CallFailed(text) from exc

    def exit(self) -> None:
        """End the session; its jobs live on."""
        with self._translated():
            self._session.exit()

    def _submit_one_by_one(self, request: NodeRequest, count: int) -> list[NodeId]:
        nodes: list[NodeId] = []
        try:
            for number in range(1, count + 1):
                numbered = {**request.environment, ORDINAL: str(number)}
                nodes += self._submit_array(replace(request, environment=numbered), 1)
        except Exception:
            # Either all nodes are queued or none.
            for node in nodes:
                with suppress(Unreachable, CallFailed):
                    self.delete(self.batch_system.format_job_id(node))
            raise
        return nodes

    def _submit_array(self, request: NodeRequest, count: int) -> list[NodeId]:
        errors = self._errors
        with self._translated():
            template = self._session.createJobTemplate()
            try:
                self._fill(template, request)
                ids = self._session.runBulkJobs(template, 1, count, 1)
            except (
                errors.DeniedByDrmException,
                errors.TryLaterException,  # e.g. max_u_jobs: see `GridFull`
                errors.AuthorizationException,
                errors.InvalidAttributeFormatException,
                errors.InvalidAttributeValueException,
                errors.InvalidArgumentException,
            ) as exc:
                raise SubmissionRejected(_text(exc)) from exc
            finally:
                self._session.deleteJobTemplate(template)
        return [self.batch_system.parse_job_id(job_id) for job_id in ids]

    def _fill(self, template: Any, request: NodeRequest) -> None:
        system = self.batch_system
        (program, *arguments), template.jobEnvironment = system.wrap_command(
            request.command, request.environment
        )
        template.jobName = request.name
        template.remoteCommand, template.args = program, arguments
        template.workingDirectory = "/"  # exists on every host
        template.outputPath, template.joinFiles = (
            ":/dev/null",
            True,
        )  # it has its own log
        marker = system.marker_options(request.environment)
        if native := " ".join(part for part in (request.native, marker) if part):
            template.nativeSpecification = native

    def _next_notice(self) -> EndNotice | None:
        # Costs 0.1 ms, also with 10,000 jobs: libdrmaa stores the notices itself.
        wrappers, helpers = self._drmaa.wrappers, self._drmaa.helpers
        name, size, status = ctypes.create_string_buffer(128), 128, ctypes.c_int()
        usage = ctypes.pointer(ctypes.POINTER(wrappers.drmaa_attr_values_t)())
        any_job = self._drmaa.Session.JOB_IDS_SESSION_ANY
        # Not Session.wait: it drops the job id when there is no usage information,
        # and that is the only notice of a job that was deleted in the queue.
        wait = (wrappers.drmaa_wait, any_job, name, size, ctypes.byref(status), 0)
        with self._translated():
            try:
                helpers.c(*wait, usage)
            except (
                self._errors.ExitTimeoutException,  # nothing yet
                self._errors.InvalidJobException,  # nothing submitted yet
            ):
                return None
            except Exception as exc:
                if "code 24:" not in str(exc):  # no usage information
                    raise
                node = self.batch_system.parse_job_id(name.value.decode())
                return EndNotice(node=node, reason=NO_RECORD, deleted=True)
            values = helpers.adapt_rusage(usage)  # frees it
            node = self.batch_system.parse_job_id(name.value.decode())
            return self._end(node, status, values)

    def _end(
        self, node: NodeId, status: ctypes.c_int, usage: Mapping[str, str]
    ) -> EndNotice:
        wrappers, c = self._drmaa.wrappers, self._drmaa.helpers.c

        def value_of(function: Any) -> int:
            value = ctypes.c_int()
            c(function, ctypes.byref(value), status)
            return value.value

        end = end_with_usage(node, usage)
        if value_of(wrappers.drmaa_wifsignaled):
            name = ctypes.create_string_buffer(32)
            c(wrappers.drmaa_wtermsig, name, 32, status)
            return replace(end, signal=name.value.decode())
        if value_of(wrappers.drmaa_wifexited):
            return replace(end, exit_status=value_of(wrappers.drmaa_wexitstatus))
        if value_of(wrappers.drmaa_wifaborted):
            return aborted_end(end, usage)
        return replace(end, reason=ABANDONED)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors.DrmCommunicationException as exc:
            raise Unreachable(_text(exc)) from exc
        except self._errors.DrmaaException as exc:
            text = _text(exc)
            if any(part in text for part in self._unreachable_messages):
                raise Unreachable(text) from exc
            raise CallFailed(text) from exc

    @contextmanager
    def _commands(self) -> Iterator[None]:
        try:
            yield
        except subprocess.CalledProcessError as exc:
            text = (exc.stderr or "").strip() or f"exit status {exc.returncode}"
            raise Unreachable(f"{exc.cmd[0]}: {text}") from exc
        except (OSError, subprocess.SubprocessError) as exc:
            raise Unreachable(str(exc)) from exc


def _text(exc: Exception) -> str:
    """Return libdrmaa's text without the error code before it."""
    return str(exc).partition(": ")[2] or str(exc)


def end_with_usage(node: NodeId, usage: Mapping[str, str]) -> EndNotice:
    """Return a node's end with its running time and memory.

    DRMAA gives numbers as text, "3.0000".
    """
    # Without a start there are no times at all, only samples of the execution daemon.
    ran = _number(usage.get("ru_wallclock")) if "start_time" in usage else None

    def peak(name: str) -> int:
        sizes = (_number(usage.get(key)) for key in (name, f"acct_{name}"))
        return int(max((size for size in sizes if size is not None), default=0.0))

    return EndNotice(
        node=node,
        ran=ran,
        peak_memory=peak("maxrss"),
        address_space=peak("maxvmem"),
    )


def aborted_end(end: EndNotice, usage: Mapping[str, str]) -> EndNotice:
    """Distinguish what libdrmaa calls aborted, as measured on Son of GE 8.1.9.

    A deleted job has a start and any exit status: with ``-notify`` it may choose one.
    """
    if "start_time" not in usage:
        return replace(end, unstarted=True, reason=UNSTARTED)
    if _number(usage.get("exit_status")) == 100:
        return replace(end, unstarted=True, reason=APPLICATION_ERROR)
    return replace(end, deleted=True, reason=DELETED)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
