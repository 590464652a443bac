"""libdrmaa, as the session needs it. Nothing else imports the ``drmaa`` package.

Only one thread may use this: the package keeps one error buffer for all threads, so a
wait in another thread would now and then replace the text of a refusal.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from enum import Enum
from typing import Any

from dask_gridengine.batch import batch_system_of
from dask_gridengine.batch.base import ORDINAL, SUBMISSION, BatchSystem
from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest

EVERYTHING = "DRMAA_JOB_IDS_SESSION_ALL"  # for `Library.delete`
NO_RECORD = (
    "the grid has no record of how: deleted before it started, or its master was"
    " restarted meanwhile"
)
DELETED = "deleted while it ran"
UNSTARTED = "the grid could not start it on that host"
APPLICATION_ERROR = "exit status 100, by which a job says that it cannot run there"
ABANDONED = "the grid's daemon on that host lost hold of it"


class SubmissionRejected(Exception):
    """Grid Engine will not have it; nothing was queued."""


class Unreachable(Exception):
    """The master does not answer."""


class Failed(Exception):
    """Anything else libdrmaa says."""


class State(Enum):
    """What the grid says of a node, as far as we need to tell apart."""

    ALIVE = "queued, held, running or suspended"
    OVER = "done or failed; `Library.next_end` knows or will know how"
    UNKNOWN = "the grid has no such job"


class Library:
    """One DRMAA session.

    Parameters
    ----------
    contact
        Of a session that died, to have its jobs; None for a new one.
    dialect
        What kind of grid it is, by name; None goes by what it calls itself.

    Raises
    ------
    ModuleNotFoundError
        If there is no ``drmaa`` package.
    OSError, RuntimeError
        If it finds no libdrmaa, or one that cannot be loaded.
    Unreachable, Failed
        If there is no session to be had.
    """

    def __init__(self, contact: str | None, dialect: str | None = None) -> None:
        import drmaa  # loads libdrmaa, which few processes can and none at import may

        self._drmaa: Any = drmaa
        self._errors: Any = drmaa.errors
        self._session = drmaa.Session()
        with self._translated():
            self._session.initialize(contact or None)
            self.system: str = self._session.drmsInfo
            self.contact: str = self._session.contact
        self.dialect = batch_system_of(self.system, dialect)

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """Queue an array, always an array, so that ids have one shape.

        Nodes that could not tell which of an array they are, are arrays of one each,
        and carry their number, from 1 in the order of the answer.

        Raises
        ------
        SubmissionRejected, Unreachable, Failed
        """
        if self.dialect.arrays:
            return self._submit(request, count, {})
        nodes: list[NodeId] = []
        try:
            for number in range(1, count + 1):
                nodes += self._submit(request, 1, {ORDINAL: str(number)})
        except Exception:
            # All or none, and not all will.
            for node in nodes:
                with suppress(Unreachable, Failed):
                    self.delete(self.dialect.format_job_id(node))
            raise
        return nodes

    def _submit(
        self, request: NodeRequest, count: int, extra: Mapping[str, str]
    ) -> list[NodeId]:
        errors = self._errors
        with self._translated():
            template = self._session.createJobTemplate()
            try:
                _fill(template, request, self.dialect, extra)
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
        return [self.dialect.parse_job_id(job_id) for job_id in ids]

    def next_end(self) -> EndNotice | None:
        """One end notice that has arrived, if any; never waits.

        Costs 0.1 ms, also with 10,000 jobs: libdrmaa keeps the notices itself.

        Raises
        ------
        Unreachable, Failed
        """
        wrappers, helpers = self._drmaa.wrappers, self._drmaa.helpers
        name, size, status = ctypes.create_string_buffer(128), 128, ctypes.c_int()
        usage = ctypes.pointer(ctypes.POINTER(wrappers.drmaa_attr_values_t)())
        everyone = self._drmaa.Session.JOB_IDS_SESSION_ANY
        # Not Session.wait: it drops the job id when there is no usage information,
        # which is all one hears of a job that was deleted in the queue.
        wait = (wrappers.drmaa_wait, everyone, name, size, ctypes.byref(status), 0)
        with self._translated():
            try:
                helpers.c(*wait, usage)
            except (
                self._errors.ExitTimeoutException,  # nothing yet
                self._errors.InvalidJobException,  # nothing submitted yet
            ):
                return None
            except Exception as exc:
                if "code 24:" not in str(exc):
                    raise
                node = self.dialect.parse_job_id(name.value.decode())
                return EndNotice(node=node, reason=NO_RECORD, deleted=True)
            said = helpers.adapt_rusage(usage)  # frees it
            return self._end(
                self.dialect.parse_job_id(name.value.decode()), status, said
            )

    def state(self, node: NodeId) -> State:
        """Ask the master about one node: a round trip of 0.3 to 3 ms.

        Raises
        ------
        Unreachable, Failed
        """
        states = self._drmaa.JobState
        with self._translated():
            try:
                said = self._session.jobStatus(self.dialect.format_job_id(node))
            except self._errors.InvalidJobException:
                return State.UNKNOWN
        return State.OVER if said in (states.DONE, states.FAILED) else State.ALIVE

    def delete(self, job_id: str) -> None:
        """Delete an array by its job id, one task of it, or everything; gone: no-op.

        Raises
        ------
        Unreachable, Failed
        """
        terminate = self._drmaa.JobControlAction.TERMINATE
        try:
            with self._translated(), suppress(self._errors.InvalidJobException):
                self._session.control(job_id, terminate)
        except Failed as exc:
            if not any(said in str(exc) for said in self.dialect.gone_messages):
                raise

    def follow(self, nodes: Collection[NodeId]) -> None:
        """These are ours; libdrmaa itself knows that already."""

    def exit(self) -> None:
        """End the session; jobs live on.

        Raises
        ------
        Unreachable, Failed
        """
        with self._translated():
            self._session.exit()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors.DrmCommunicationException as exc:
            raise Unreachable(_text(exc)) from exc
        except self._errors.DrmaaException as exc:
            raise Failed(_text(exc)) from exc

    def _end(
        self, node: NodeId, status: ctypes.c_int, usage: Mapping[str, str]
    ) -> EndNotice:
        wrappers, c = self._drmaa.wrappers, self._drmaa.helpers.c

        def says(question: Any) -> int:
            answer = ctypes.c_int()
            c(question, ctypes.byref(answer), status)
            return answer.value

        end = measured(node, usage)
        if says(wrappers.drmaa_wifsignaled):
            name = ctypes.create_string_buffer(32)
            c(wrappers.drmaa_wtermsig, name, 32, status)
            return replace(end, signal=name.value.decode())
        if says(wrappers.drmaa_wifexited):
            return replace(end, exit_status=says(wrappers.drmaa_wexitstatus))
        if says(wrappers.drmaa_wifaborted):
            return aborted(end, usage)
        return replace(end, reason=ABANDONED)


def measured(node: NodeId, usage: Mapping[str, str]) -> EndNotice:
    """What the usage says of a node that has ended, whatever way it did.

    Parameters
    ----------
    usage
        As DRMAA gives it: numbers as text, "3.0000".
    """
    # Without a start there are no times at all, only what execd had sampled.
    ran = _number(usage.get("ru_wallclock")) if "start_time" in usage else None
    sizes = (_number(usage.get(name)) for name in ("maxvmem", "acct_maxvmem"))
    peak = max((size for size in sizes if size is not None), default=0.0)
    return EndNotice(node=node, ran=ran, peak_memory=int(peak))


def aborted(end: EndNotice, usage: Mapping[str, str]) -> EndNotice:
    """Tell apart what libdrmaa calls aborted, as measured on SoGE 8.1.9.

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


def _fill(
    template: Any, request: NodeRequest, dialect: BatchSystem, extra: Mapping[str, str]
) -> None:
    environment = {**request.environment, **extra}
    command, environment = dialect.wrap_command(request.command, environment)
    template.jobName = request.name
    template.remoteCommand, template.args = command[0], list(command[1:])
    template.jobEnvironment = environment
    template.workingDirectory = "/"  # on every host; the node opens its own log
    template.outputPath, template.joinFiles = ":/dev/null", True
    tag = dialect.marker_options(request.environment.get(SUBMISSION, ""))
    if native := " ".join(part for part in (request.native, tag) if part):
        template.nativeSpecification = native


def _text(exc: Exception) -> str:
    """libdrmaa's words without the code before them."""
    return str(exc).partition(": ")[2] or str(exc)
