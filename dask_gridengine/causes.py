"""Why a node ended: a fixed list, each with what to type next.

A node that can still speak ends with one of the exit statuses below. They are from
``sysexits.h``; 99 and 100 never occur, because Grid Engine would run the job again or
park it in Eqw (``man 5 sge_conf``, FORBID_RESCHEDULE and FORBID_APPERROR).
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

from dask_gridengine.launchers.base import NodeEnd


class Cause(str, enum.Enum):
    """Why a node ended; the value stands in farewells."""

    FINISHED = "finished"  # its worker was closed by the scheduler or the cluster
    LEFT = "told to leave"  # at the door: nobody needed it any more
    DRAINED = "drained"  # a signal asked it to go, and it handed its data over
    CANCELLED = "cancelled"  # by its own cluster
    DELETED = "deleted from the queue"  # by somebody else, before it started
    NO_LOG = "could not write its log"
    NO_PYTHON = "could not find Python"
    UNREADABLE = "could not read its connection file"
    UNREACHABLE = "could not reach the cluster"
    REFUSED = "was refused"
    NO_SCRATCH = "could not write its scratch directory"
    NO_IMPORT = "could not import its worker"
    NO_START = "could not start its worker"
    KILLED = "was killed"
    UNKNOWN = "ended without a word"

    @property
    def is_failure(self) -> bool:
        """Whether something is wrong, rather than simply over."""
        return self not in _HARMLESS

    @property
    def log_says_more(self) -> bool:
        """Whether a node's log may hold more than its diagnosis already tells."""
        return self in _LOG_SAYS_MORE


_HARMLESS = {
    Cause.FINISHED,
    Cause.LEFT,
    Cause.DRAINED,
    Cause.CANCELLED,
    Cause.DELETED,
}

_LOG_SAYS_MORE = {Cause.NO_IMPORT, Cause.NO_START, Cause.KILLED, Cause.UNKNOWN}

#: What a node or its shell exits with, and what that means.
EXIT_STATUS: dict[Cause, int] = {
    Cause.FINISHED: 0,
    Cause.LEFT: 0,
    Cause.DRAINED: 0,
    Cause.UNREACHABLE: os.EX_UNAVAILABLE,  # 69
    Cause.NO_IMPORT: os.EX_SOFTWARE,  # 70
    Cause.NO_START: os.EX_OSERR,  # 71
    Cause.NO_LOG: os.EX_CANTCREAT,  # 73
    Cause.NO_SCRATCH: os.EX_IOERR,  # 74
    Cause.REFUSED: os.EX_PROTOCOL,  # 76
    Cause.UNREADABLE: os.EX_CONFIG,  # 78
    Cause.NO_PYTHON: 127,  # the shell's word for "not found"
}
_BY_STATUS = {status: cause for cause, status in EXIT_STATUS.items() if status}
_BY_STATUS[126] = Cause.NO_PYTHON  # found, but cannot be executed

_ADVICE: dict[Cause, str] = {
    Cause.NO_LOG: "log_directory= (or shared_directory=) must be on a file system that"
    " the nodes see and may write to",
    Cause.NO_PYTHON: "python= must name a Python that exists on the nodes",
    Cause.UNREADABLE: "shared_directory= must be on a file system that the nodes see",
    Cause.UNREACHABLE: "interface= or host= must be one that the nodes reach; a"
    " firewall must let them connect to this host",
    Cause.REFUSED: "install the same versions on the nodes, or point python= at the"
    " cluster's own environment",
    Cause.NO_SCRATCH: "local_directory= must be writable on every node; without it"
    " Grid Engine's own TMPDIR is used",
    Cause.NO_IMPORT: "python= must have dask, distributed and dask-gridengine"
    " installed",
    Cause.NO_START: "the node's log says more",
    Cause.KILLED: "a limit of the grid, perhaps: ask for more with walltime= or"
    " memory=",
    Cause.UNKNOWN: "qacct -j {job} may say more",
}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What became of one node."""

    cause: Cause
    detail: str = ""  # evidence: the node's, the grid's or the log's own words
    source: str = ""  # who said so: "farewell", "door", "exit status", "grid"

    def sentence(self, who: str, job: str = "JOB") -> str:
        """Say it to people.

        Parameters
        ----------
        who
            ``"node 3.1 on node7"`` or ``"8 nodes"``.
        job
            Grid Engine's job id, for advice that names it.

        Examples
        --------
        >>> print(Diagnosis(cause=Cause.NO_PYTHON, detail="x: not found").sentence("a"))
        a could not find Python: x: not found
          what to do: python= must name a Python that exists on the nodes
        """
        said = f"{who} {self.cause.value}"
        if self.detail:
            said += f": {self.detail}"
        if advice := _ADVICE.get(self.cause):
            said += f"\n  what to do: {advice.format(job=job)}"
        return said


def diagnose_end(end: NodeEnd, log_tail: str, *, started: bool) -> Diagnosis:
    """Read a launcher's end notice, for a node that said no farewell itself.

    Parameters
    ----------
    end
        The notice.
    log_tail
        The end of the node's log; "" if there is none.
    started
        Whether the node has been heard of. One that has not cannot have finished, and
        one that has cannot have been deleted before it started.
    """
    last = log_tail.strip().splitlines()[-1] if log_tail.strip() else ""
    if end.cancelled:
        return Diagnosis(cause=Cause.CANCELLED, source="cluster")
    if end.signal:
        return Diagnosis(cause=Cause.KILLED, detail=str(end), source="grid")
    if end.exit_status in _BY_STATUS:
        cause = _BY_STATUS[end.exit_status]
        return Diagnosis(cause=cause, detail=last, source="exit status")
    if end.exit_status == 0 and started:
        return Diagnosis(cause=Cause.FINISHED, source="exit status")
    if end.exit_status is None and "before it started" in end.reason and not started:
        return Diagnosis(cause=Cause.DELETED, detail=end.reason, source="grid")
    detail = "; ".join(part for part in (str(end), last) if part)
    return Diagnosis(cause=Cause.UNKNOWN, detail=detail, source="grid")
