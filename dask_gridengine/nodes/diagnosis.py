"""From what the grid, the log and the accounting say to one cause. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from dask.utils import format_bytes

from dask_gridengine.bootstrap.messages import ExitReport
from dask_gridengine.exit_causes import BY_STATUS, Cause, Diagnosis
from dask_gridengine.grid_types import AccountingRecord, EndNotice, signal_name
from dask_gridengine.nodes.memory_option import in_memory_option, more_memory
from dask_gridengine.nodes.prologue import hinted
from dask_gridengine.worker.prologue import ENDED, failures_in

#: A walltime counts as reached this many seconds before: Grid Engine's clock starts
#: with its prolog, and it tells whole seconds.
WALLTIME_SLACK = 1.0
#: What to ask for where a walltime was too short, in units of it.
LONGER = 1.5
#: A memory limit counts as reached from this share on: the grid samples.
MEMORY_SHARE = 0.95

#: How the accounting marks jobs that a signal or a limit ended; it has the same for
#: those that were deleted while they ran (seen on Son of Grid Engine 8.1.9).
_ENDED_BY_SIGNAL = ("100", "37")
KILLED_OR_DELETED = "says the accounting, where a deletion looks the same"

_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
_LIFETIME = "worker-lifetime-reached"  # distributed/worker.py, as reason of a close
_LOST = (
    "worker-handle-scheduler-connection-broken",
    "worker-heartbeat-missing",
    "worker-heartbeat-error",
    "nanny-unregister-failed",
)
#: In the log where reading a message failed (distributed/protocol/core.py), and in the
#: traceback of any error in the stream from the scheduler (distributed/worker.py).
_STREAM_ERRORS = ("Failed to deserialize", "in handle_scheduler")
_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception)\b.*", re.MULTILINE)
_CONNECTION_ERROR = re.compile(
    r"([\w.]+\.)?(CommClosed|StreamClosed|Connection\w*|BrokenPipe|Timeout|OS)Error"
)
#: A node's own last line, and the line its shell begins the log with.
_ON_HOST = re.compile(r"^on (\S+): ?")


def diagnose_end(
    end: EndNotice,
    tail: str = "",
    *,
    started: bool,
    walltime: float | None = None,
    memory: int = 0,
    account: AccountingRecord | None = None,
    larger: Callable[[int], str] = in_memory_option,
) -> Diagnosis:
    """Read a launcher's end notice, for a node that said no farewell itself.

    Parameters
    ----------
    end
        The notice.
    tail
        The end of the node's log; "" if there is none.
    started
        Whether the node has been heard of. One that has not cannot have finished.
    walltime
        Seconds it was asked for with.
    memory
        Bytes the grid left it; 0 is no limit, or not known.
    account
        What the accounting says, where it was asked.
    larger
        What to type for so many bytes, where the grid's memory limit was too small.
    """
    if end.cancelled:
        return Diagnosis(cause=Cause.CANCELLED, source="cluster")
    # A restart of the master can look like a deletion before the start.
    if end.deleted and (end.ran is not None or not started):
        return Diagnosis(cause=Cause.DELETED, source="grid")
    if end.unstarted:
        return _not_started(end, account)
    if end.limit:
        cause = Cause.MEMORY if end.limit == "memory" else Cause.WALLTIME
        return Diagnosis(cause=cause, detail=end.reason, source="grid")
    if (booked := _by_the_books(end, account)) is not end:
        told = diagnose_end(
            booked,
            tail,
            started=started,
            walltime=walltime,
            memory=memory,
            account=account,
            larger=larger,
        )
        return replace(told, source="accounting")
    if end.signal:
        return _killed(end, walltime, memory, account, larger)
    if last_line(tail).startswith(ENDED) and (ended := failures_in(tail)):
        detail = hinted(ended[-1])
        return Diagnosis(cause=Cause.PROLOGUE, detail=detail, source="log")
    if end.exit_status in BY_STATUS:
        cause = BY_STATUS[end.exit_status]
        return Diagnosis(cause=cause, detail=last_line(tail), source="exit status")
    if end.exit_status == 0 and started:
        return Diagnosis(cause=Cause.FINISHED, source="exit status")
    failed = (
        f"accounting: failed {account.failed}" if account and account.failed else ""
    )
    said = (str(end), failed, last_line(tail))
    return Diagnosis(
        cause=Cause.UNKNOWN if started else Cause.NEVER_ARRIVED,
        detail="; ".join(part for part in said if part),
        source="accounting" if failed else "grid",
    )


def diagnose_exit_report(exit_report: ExitReport) -> Diagnosis:
    """Read what a node has said itself."""
    cause, detail = _cause(exit_report.cause), exit_report.detail
    if cause is Cause.FINISHED and detail:
        if detail == _LIFETIME:
            cause, detail = Cause.LIFETIME, ""
        elif detail in _LOST:
            cause = Cause.LOST_CONTACT
            if error := _error_of_stream(exit_report.stderr):
                cause, detail = Cause.BAD_MESSAGE, error
    return Diagnosis(cause=cause, detail=detail, source="exit_report")


def _error_of_stream(tail: str) -> str:
    """The exception that closed a worker's stream to its scheduler, from its log.

    Dask closes the worker with the same reason as when the connection is lost, and
    logs the traceback. "" if there is none, or if it says that the connection is lost.
    """
    places = [tail.rfind(marker) for marker in _STREAM_ERRORS]
    if max(places) < 0:
        return ""
    errors = _ERROR_LINE.findall(tail[max(places) :])
    return errors[0] if errors and not _CONNECTION_ERROR.match(errors[0]) else ""


def out_of_memory(
    used: int,
    limit: int,
    source: str,
    whose: str,
    *,
    processes: int = 1,
    larger: Callable[[int], str] = in_memory_option,
) -> Diagnosis:
    """A memory limit was reached.

    Parameters
    ----------
    used, limit
        Bytes.
    source
        Who says so.
    whose
        Who enforces the limit, for people.
    processes
        How many have that limit each and share what is asked for.
    larger
        What to type for so many bytes of a node.
    """
    return Diagnosis(
        cause=Cause.MEMORY,
        detail=f"{format_bytes(used)} of {format_bytes(limit)}, {whose}",
        source=source,
        advice=f"ask for {larger(more_memory(used, limit) * processes)}, or use"
        " smaller chunks",
    )


def process_ended(signal: str | None, exit_status: int | None) -> Diagnosis:
    """A worker process ended, and its Nanny knows no more than how.

    Parameters
    ----------
    signal
        The name of the signal that ended it; None if none did.
    exit_status
        Where none did; None if it is not known either.
    """
    how = signal or ("unknown" if exit_status is None else f"exit status {exit_status}")
    if signal in _CRASHES:
        advice = "compiled code crashed; python -X faulthandler says where"
    elif signal is None and exit_status is not None:
        advice = "a task, or what it calls, ended the process (os._exit, sys.exit)"
    else:
        advice = ""
    return Diagnosis(
        cause=Cause.KILLED,
        detail=f"its process ended with {how}",
        source="Nanny",
        advice=advice,
    )


def host_in(head: str) -> str:
    """The host a node's log begins with; "" if it does not."""
    found = _ON_HOST.match(head)
    return found[1] if found else ""


def last_line(tail: str) -> str:
    """The last line of a log, without the host it may begin with.

    Examples
    --------
    >>> last_line("on node1:\\non node1: no route to host\\n")
    'no route to host'
    """
    lines = [line for line in tail.strip().splitlines() if line.strip()]
    return _ON_HOST.sub("", lines[-1]).strip() if lines else ""


def _not_started(end: EndNotice, account: AccountingRecord | None) -> Diagnosis:
    if account is not None and account.failed:
        return Diagnosis(
            cause=Cause.NOT_STARTED, detail=account.failed, source="accounting"
        )
    return Diagnosis(cause=Cause.NOT_STARTED, detail=end.reason, source="grid")


def _by_the_books(end: EndNotice, account: AccountingRecord | None) -> EndNotice:
    """What a notice without a word lacks, as the accounting has it.

    Of a node that ends while nobody listens (another session child takes over, the
    master is away) the grid may say no more than that it is over.
    """
    if account is None or account.exit_status is None:
        return end
    if end.signal or end.exit_status is not None:
        return end
    number = account.exit_status - 128
    if number > 0 and account.failed.startswith(_ENDED_BY_SIGNAL):
        return replace(
            end, signal=signal_name(number), reason=KILLED_OR_DELETED, deleted=False
        )
    if not account.failed:
        return replace(end, exit_status=account.exit_status, deleted=False)
    return end


def _killed(
    end: EndNotice,
    walltime: float | None,
    memory: int,
    account: AccountingRecord | None,
    larger: Callable[[int], str],
) -> Diagnosis:
    ran = end.ran if end.ran is not None else account.ran if account else None
    if walltime and ran is not None and ran >= walltime - WALLTIME_SLACK:
        detail = f"{walltime:g} s, killed by {end.signal}"
        advice = f"ask for more, e.g. walltime={walltime * LONGER:g}; or make the tasks"
        return Diagnosis(
            cause=Cause.WALLTIME,
            detail=detail,
            source="grid",
            advice=f"{advice} shorter",
        )
    peak = max(end.peak_memory, account.peak_memory if account else 0)
    if memory and peak >= memory * MEMORY_SHARE:
        return out_of_memory(peak, memory, "grid", "the grid's limit", larger=larger)
    # Nothing that differs from node to node: alike ones are told together.
    detail = "; ".join(part for part in (f"by {end.signal}", end.reason) if part)
    return Diagnosis(cause=Cause.KILLED, detail=detail, source="grid")


def _cause(said: str) -> Cause:
    try:
        return Cause(said)
    except ValueError:
        return Cause.UNKNOWN
