"""libdrmaa, as far as the session needs it; the only module that imports ``drmaa``.

Importing this loads the C library, which on Debian works only in a process that was
*started* with `TUNABLES` in its environment (its jemalloc wants static TLS). So it is
imported in the session child, which is, and nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
from dataclasses import dataclass

import drmaa
from drmaa import wrappers
from drmaa.const import ATTR_BUFFER, SIGNAL_BUFFER
from drmaa.errors import DrmaaException
from drmaa.helpers import adapt_rusage

from dask_gridengine.launchers.base import NodeId, NodeRequest

NO_RUSAGE = "code 24"  # DRMAA_ERRNO_NO_RUSAGE, which the Python package has no name for
ANY = b"DRMAA_JOB_IDS_SESSION_ANY"


class Refused(Exception):
    """The grid said no."""


class Unreachable(Exception):
    """The grid did not answer."""


class NoSuchJob(Exception):
    """The grid knows no such job, or knows it no more."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What ``drmaa_wait`` says of one job."""

    node: NodeId
    exit_status: int | None = None
    signal: str | None = None
    aborted: bool = False  # deleted, or never started
    unaccounted: bool = False  # it has no usage: deleted in the queue, or in an outage


class Library:
    """One DRMAA session. Calls may come from two threads, one of them in `wait`.

    Parameters
    ----------
    contact
        Of a session to take over, or "".

    Raises
    ------
    Unreachable
        If there is no session to be had; the text says why.
    """

    def __init__(self, contact: str = "") -> None:
        self._session = drmaa.Session()
        try:
            self._session.initialize(contact or None)
        except DrmaaException as exc:
            raise Unreachable(_text(exc)) from exc
        # The package has one error buffer for all threads; the waiting one must not
        # write its time-outs over another call's message.
        self._buffer = ctypes.create_string_buffer(1024)

    @property
    def system(self) -> str:
        """E.g. ``SGE 8.1.9``."""
        return str(self._session.drmsInfo)

    @property
    def contact(self) -> str:
        """What a successor takes this session over by."""
        return str(self._session.contact)

    def close(self) -> None:
        """End the session, or qmaster would keep its event client; jobs live on."""
        with contextlib.suppress(DrmaaException):
            self._session.exit()

    def submit(self, request: NodeRequest, count: int) -> list[NodeId]:
        """Queue an array, also of one, so that ids have one shape."""
        template = self._session.createJobTemplate()
        try:
            template.jobName = request.name
            template.remoteCommand = request.command[0]
            template.args = list(request.command[1:])
            template.jobEnvironment = dict(request.environment)
            template.nativeSpecification = request.native
            # A directory that is missing on a host would park the job in Eqw.
            template.workingDirectory = "/"
            template.outputPath = ":/dev/null"
            template.joinFiles = True
            return [
                node_id(job) for job in self._session.runBulkJobs(template, 1, count, 1)
            ]
        except DrmaaException as exc:
            raise _translated(exc, otherwise=Refused) from exc
        finally:
            self._session.deleteJobTemplate(template)

    def terminate(self, job: str) -> None:
        """Delete a task (``3.17``) or a whole array (``3``)."""
        try:
            self._session.control(job, drmaa.JobControlAction.TERMINATE)
        except DrmaaException as exc:
            if NO_RUSAGE not in str(exc):
                raise _translated(exc, otherwise=NoSuchJob) from exc

    def over(self, node: NodeId) -> bool:
        """Whether the grid says that this task is over; one round trip."""
        try:
            state = self._session.jobStatus(str(node))
        except DrmaaException as exc:
            raise _translated(exc, otherwise=NoSuchJob) from exc
        return state in (drmaa.JobState.DONE, drmaa.JobState.FAILED)

    def wait(self, seconds: int) -> Ended | None:
        """The next task to end; None if none does in time.

        Not by the package's own ``wait``: that loses the id of a job without usage.
        """
        job = ctypes.create_string_buffer(ATTR_BUFFER)
        status = ctypes.c_int()
        usage = ctypes.pointer(ctypes.POINTER(wrappers.drmaa_attr_values_t)())
        try:
            self._call(
                wrappers.drmaa_wait,
                *(ANY, job, len(job), ctypes.byref(status), seconds, usage),
            )
        except (drmaa.errors.ExitTimeoutException, drmaa.errors.InvalidJobException):
            return None
        except DrmaaException as exc:
            if NO_RUSAGE in str(exc) and job.value:
                return Ended(node=node_id(job.value.decode()), unaccounted=True)
            raise _translated(exc, otherwise=Unreachable) from exc
        adapt_rusage(usage)  # frees it
        return self._read(node_id(job.value.decode()), status)

    def _read(self, node: NodeId, status: ctypes.c_int) -> Ended:
        if self._ask(wrappers.drmaa_wifexited, status):
            return Ended(
                node=node, exit_status=self._ask(wrappers.drmaa_wexitstatus, status)
            )
        if self._ask(wrappers.drmaa_wifsignaled, status):
            name = ctypes.create_string_buffer(SIGNAL_BUFFER)
            self._call(wrappers.drmaa_wtermsig, name, len(name), status)
            return Ended(node=node, signal=name.value.decode())
        return Ended(
            node=node, aborted=bool(self._ask(wrappers.drmaa_wifaborted, status))
        )

    def _ask(self, function: ctypes._FuncPointer, status: ctypes.c_int) -> int:
        answer = ctypes.c_int()
        self._call(function, ctypes.byref(answer), status)
        return answer.value

    def _call(self, function: ctypes._FuncPointer, *arguments: object) -> None:
        function(*arguments, self._buffer, len(self._buffer))


def node_id(job: str) -> NodeId:
    """Grid Engine's ``3.17`` taken apart."""
    array, _, index = job.partition(".")
    return NodeId(array, int(index))


def _translated(exc: DrmaaException, *, otherwise: type[Exception]) -> Exception:
    if isinstance(exc, drmaa.errors.DrmCommunicationException):
        return Unreachable(_text(exc))
    if isinstance(exc, drmaa.errors.InvalidJobException):
        return NoSuchJob(_text(exc))
    return otherwise(_text(exc))


def _text(exc: DrmaaException) -> str:
    """The library's sentence, without the package's ``code 17: `` before it."""
    text = str(exc)
    return text.partition(": ")[2].strip() if text.startswith("code ") else text
