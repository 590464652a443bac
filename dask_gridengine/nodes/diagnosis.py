"""Find the cause of an end from the grid's notice, the log and the accounting. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from dask_gridengine.bootstrap.messages import ExitReport
from dask_gridengine.exit_causes import BY_STATUS, Cause, Diagnosis
from dask_gridengine.formatting import format_duration, format_size
from dask_gridengine.grid_types import AccountingRecord, EndNotice, signal_name
from dask_gridengine.nodes.memory_option import in_memory_option, more_memory
from dask_gridengine.nodes.prologue import hinted
from dask_gridengine.worker.prologue import ENDED, failures_in

#: A walltime counts as reached this many seconds before it: Grid Engine's clock starts
#: with its prolog and counts whole seconds.
WALLTIME_SLACK = 1.0
#: The walltime to request where one was too short, in units of it.
LONGER = 1.5
#: A memory limit counts as reached from this share on: the grid takes samples.
MEMORY_SHARE = 0.95

#: The accounting's marks of jobs that a signal or a limit ended; jobs that were deleted
#: while they ran have the same (seen on Son of Grid Engine 8.1.9).
_ENDED_BY_SIGNAL = ("100", "37")
KILLED_OR_DELETED = "by the accounting, where a deletion looks the same"

#: What Python and its libraries write where a limit of address space is too low.
_NO_ADDRESS_SPACE = (
    "MemoryError",
    "can't start new thread",
    "Cannot allocate memory",
    "Resource temporarily unavailable",
    "failed to map segment from shared object",
)
_AT_START = (Cause.NO_IMPORT, Cause.NO_START)

_CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE")
_LIFETIME = "worker-lifetime-reached"  # distributed/worker.py, as reason of a close
_LOST = (
    "worker-handle-scheduler-connection-broken",
    "worker-heartbeat-missing",
    "worker-heartbeat-error",
    "nanny-unregister-failed",
)
#: Log text of a message that could not be read (distributed/protocol/core.py), and of
#: any error in the stream from the scheduler (distributed/worker.py).
_STREAM_ERRORS = ("Failed to deserialize", "in handle_scheduler")
_ERROR_LINE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception)\b.*", re.MULTILINE)
_CONNECTION_ERROR = re.compile(
    r"([\w.]+\.)?(CommClosed|StreamClosed|Connection\w*|BrokenPipe|Timeout|OS)Error"
)
#: Errors of Python, and of libzmq and OpenBLAS, about a thread that cannot start.
_NO_THREAD = re.compile(r"can't start new thread|Resource temporarily unavailable")
THREAD_ADVICE = (
    "each thread takes h_stack of the address space that h_vmem limits: request"
    " h_stack=8M beside h_vmem in resource_spec; or the limit of processes is reached"
    " (ulimit -u)"
)
#: The first line of a log, by the shell, and the last one, by the node.
_ON_HOST = re.compile(r"^on (\S+): ?")


def diagnose_end(
    end: EndNotice,
    tail: str = "",
    *,
    started: bool,
    walltime: float | None = None,
    memory: int = 0,
    counts_address_space: bool = False,
    account: AccountingRecord | None = None,
    larger: Callable[[int], str] = in_memory_option,
) -> Diagnosis:
    """Diagnose a node by its end notice and the end of its log.

    `started` is whether it has sent a hello; otherwise it cannot have finished.
    `walltime` is in seconds. `memory` are the bytes the grid left it; 0 is unlimited or
    unknown; `counts_address_space` is whether that limit is one of address space.
    `larger` returns the option that requests so many bytes.
    """
    if end.cancelled:
        return Diagnosis(cause=Cause.CANCELLED, source="cluster")
    # A restart of the master can look like a deletion before the start.
    if end.deleted and (end.ran is not None or not started):
        # The Open Cluster Scheduler itself deletes a parallel job beyond its limit.
        enforced = memory if counts_address_space else 0
        limit = _limit_reached(end, walltime, enforced, account, larger, share=1.0)
        return limit or Diagnosis(cause=Cause.DELETED, source="grid")
    if end.unstarted:
        return _not_started(end, account)
    if end.limit:
        cause = Cause.MEMORY if end.limit == "memory" else Cause.WALLTIME
        return Diagnosis(cause=cause, detail=end.reason, source="grid")
    if (complete := _completed(end, account)) is not end:
        diagnosis = diagnose_end(
            complete,
            tail,
            started=started,
            walltime=walltime,
            memory=memory,
            counts_address_space=counts_address_space,
            account=account,
            larger=larger,
        )
        return replace(diagnosis, source="accounting")
    if end.signal:
        return _of_threads(_killed(end, walltime, memory, account, larger), tail)
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
    evidence = (str(end), failed, last_line(tail))
    return Diagnosis(
        cause=Cause.UNKNOWN if started else Cause.NEVER_ARRIVED,
        detail="; ".join(filter(None, evidence)),
        source="accounting" if failed else "grid",
    )


def diagnose_exit_report(exit_report: ExitReport) -> Diagnosis:
    """Diagnose a node by its own report."""
    cause, detail = _cause(exit_report.cause), exit_report.detail
    if cause is Cause.FINISHED and detail:
        if detail == _LIFETIME:
            cause, detail = Cause.LIFETIME, ""
        elif detail in _LOST:
            cause = Cause.LOST_CONTACT
            if error := _stream_error(exit_report.stderr):
                cause, detail = Cause.BAD_MESSAGE, error
    diagnosis = Diagnosis(cause=cause, detail=detail, source="exit report")
    return _of_threads(diagnosis, f"{detail}\n{exit_report.stderr}")


def _of_threads(diagnosis: Diagnosis, text: str) -> Diagnosis:
    """Say why threads could not start, if the log or the report has their error."""
    found = _NO_THREAD.search(text)
    if found is None or not diagnosis.cause.is_failure or diagnosis.advice:
        return diagnosis
    detail = diagnosis.detail
    if found[0] not in detail:
        detail = "; ".join(filter(None, (detail, f"its log has: {found[0]}")))
    return replace(diagnosis, detail=detail, advice=THREAD_ADVICE)


def _stream_error(tail: str) -> str:
    """Find the exception that closed a worker's stream to its scheduler in its log.

    Dask closes the worker with the same reason as when the connection is lost, and
    logs the traceback. Returns "" if there is none, or if the connection was lost.
    """
    start = max(tail.rfind(marker) for marker in _STREAM_ERRORS)
    if start < 0:
        return ""
    errors = _ERROR_LINE.findall(tail[start:])
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
    """Make the diagnosis of a memory limit that was reached; sizes are in bytes.

    `whose` says who enforces the limit, and `processes` how many have it each.
    """
    return Diagnosis(
        cause=Cause.MEMORY,
        detail=f"{format_size(used)} of {format_size(limit)}, {whose}",
        source=source,
        advice=f"request {larger(more_memory(used, limit) * processes)}, or use"
        " smaller chunks",
    )


def short_of_address_space(
    diagnosis: Diagnosis, tail: str, memory: int, larger: Callable[[int], str]
) -> Diagnosis:
    """Return a better diagnosis if the grid's limit left too little to start.

    Such a limit does not kill: the node cannot allocate memory or start a thread. For
    the arguments see `diagnose_end`.
    """
    if not memory or diagnosis.cause not in (*_AT_START, Cause.NEVER_ARRIVED):
        return diagnosis
    found = next((text for text in _NO_ADDRESS_SPACE if text in tail), None)
    if found is None:
        return diagnosis
    return Diagnosis(
        cause=Cause.MEMORY,
        detail=f"it could not start within the grid's limit of {format_size(memory)},"
        f" which counts address space: {found}",
        source="log",
        advice=f"request {larger(more_memory(0, memory))}",
    )


def process_ended(signal: str | None, exit_status: int | None) -> Diagnosis:
    """Make the diagnosis of a worker process of which only the end is known."""
    how = signal or ("unknown" if exit_status is None else f"exit status {exit_status}")
    if signal in _CRASHES:
        advice = "compiled code crashed; python -X faulthandler shows where"
    elif signal is None and exit_status is not None:
        advice = "search the task for a call that ends the process (os._exit, sys.exit)"
    else:
        advice = ""
    return Diagnosis(
        cause=Cause.KILLED,
        detail=f"its process ended with {how}",
        source="Nanny",
        advice=advice,
    )


def host_in(head: str) -> str:
    """Return the host with which a node's log begins, or ""."""
    found = _ON_HOST.match(head)
    return found[1] if found else ""


def last_line(tail: str) -> str:
    """Return the last line of a log, without the host it may begin with.

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


def _completed(end: EndNotice, account: AccountingRecord | None) -> EndNotice:
    """Add exit status or signal from the accounting to a notice without either.

    The grid may report no more than the end of a node that ended while its master was
    away, or while another session child took over.
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
    if limit := _limit_reached(end, walltime, memory, account, larger):
        return limit
    # Without anything that differs from node to node: equal ones are grouped.
    detail = "; ".join(part for part in (f"by {end.signal}", end.reason) if part)
    return Diagnosis(cause=Cause.KILLED, detail=detail, source="grid")


def _limit_reached(
    end: EndNotice,
    walltime: float | None,
    memory: int,
    account: AccountingRecord | None,
    larger: Callable[[int], str],
    share: float = MEMORY_SHARE,
) -> Diagnosis | None:
    ran = end.ran if end.ran is not None else account.ran if account else None
    if walltime and ran is not None and ran >= walltime - WALLTIME_SLACK:
        detail = format_duration(walltime)
        if end.signal:
            detail += f", killed by {end.signal}"
        advice = f"request more, e.g. walltime={walltime * LONGER:g}; or make the tasks"
        return Diagnosis(
            cause=Cause.WALLTIME,
            detail=detail,
            source="grid",
            advice=f"{advice} shorter",
        )
    used = max(end.peak_memory, account.peak_memory if account else 0)
    space = max(used, end.address_space, account.address_space if account else 0)
    if memory and space >= memory * share:
        whose = "the grid's limit"
        if space > used:
            whose += ", which counts address space"
        if used:
            whose += f"; the memory in use was {format_size(used)}"
        return out_of_memory(space, memory, "grid", whose, larger=larger)
    return None


def _cause(text: str) -> Cause:
    try:
        return Cause(text)
    except ValueError:
        return Cause.UNKNOWN
