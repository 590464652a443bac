"""Why a node ended: a fixed list of causes, each with advice on what to type next.

A node that can still report ends with one of the exit statuses below. They are from
``sysexits.h``; 99 and 100 never occur, because Grid Engine would run the job again or
put it into the error state Eqw (``man 5 sge_conf``, FORBID_RESCHEDULE and
FORBID_APPERROR).
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass

from dask_gridengine.errors import with_hint
from dask_gridengine.formatting import verb


class Cause(str, enum.Enum):
    """Why a node ended; the value is the verb of a sentence about the node."""

    FINISHED = "finished"  # its worker closed, and the cluster had not requested that
    RETIRED = "was retired"  # through the scheduler, e.g. by a client
    LIFETIME = "reached its worker's lifetime"
    LEFT = "was not needed"  # it left when it contacted the cluster
    DRAINED = "drained"  # on a signal: it moved its data to other workers first
    EXPIRED = "left before its walltime"  # another node replaced it
    CANCELLED = "was cancelled"  # by its own cluster: scale() or close()
    DELETED = "was deleted"  # by its owner or an admin, with qdel
    WALLTIME = "ran into its walltime"
    MEMORY = "ran into the memory limit"
    SUSPENDED = "was suspended by the grid for too long"  # another node replaced it
    HOST_LOST = "stopped responding (host lost?)"
    LOST_CONTACT = "lost its connection to the scheduler"
    BAD_MESSAGE = "could not read a message from the scheduler"
    NOT_STARTED = "could not be started by the grid"  # the grid's Eqw, or its like
    REJECTED = "was refused by the grid"  # with its whole array, at submission
    NO_LOG = "could not write its log"
    PROLOGUE = "ended in its job_script_prologue"
    NO_PYTHON = "could not find Python"
    UNREADABLE = "could not read its connection file"
    UNREACHABLE = "could not reach the cluster"
    NEVER_ARRIVED = "ended before it contacted the cluster"
    VERSIONS = "had different package versions"
    REFUSED = "was rejected by the cluster"  # its job id was used, or is not ours
    NO_ALLOCATION = "could not be given an allocation"  # an error in the cluster
    NO_SCRATCH = "could not write its scratch directory"
    NO_SCHEDULER = "reached the bootstrap port, but not the scheduler"
    NO_LISTEN = "could not listen on a port"
    NO_IMPORT = "could not import its worker"
    NO_START = "could not start its worker"
    KILLED = "was killed"
    UNKNOWN = "ended for an unknown reason"

    @property
    def is_failure(self) -> bool:
        """Whether something went wrong."""
        return self not in _HARMLESS

    @property
    def on_purpose(self) -> bool:
        """Whether one node less was requested: it is not replaced."""
        return self in _ON_PURPOSE

    @property
    def log_may_help(self) -> bool:
        """Whether a node's log may hold more than its diagnosis does."""
        return self in _LOG_MAY_HELP

    @property
    def may_be_host_fault(self) -> bool:
        """Whether the host may be the reason if a node fails soon after its start."""
        return self.is_failure and self not in _NEVER_HOST_FAULT


_ON_PURPOSE = {Cause.LEFT, Cause.CANCELLED, Cause.DELETED, Cause.RETIRED}
_HARMLESS = {
    *_ON_PURPOSE,
    Cause.FINISHED,
    Cause.DRAINED,
    Cause.EXPIRED,
    Cause.LIFETIME,
    Cause.SUSPENDED,
}
_LOG_MAY_HELP = {
    Cause.NO_IMPORT,
    Cause.NO_START,
    Cause.KILLED,
    Cause.BAD_MESSAGE,
    Cause.PROLOGUE,
    Cause.NEVER_ARRIVED,
    Cause.UNKNOWN,
}
_NEVER_HOST_FAULT = {
    Cause.WALLTIME,
    Cause.MEMORY,
    Cause.LOST_CONTACT,
    Cause.BAD_MESSAGE,
    Cause.REJECTED,
    Cause.REFUSED,
    Cause.NO_ALLOCATION,
}

#: The exit status of a node or its shell, by cause.
EXIT_STATUS: dict[Cause, int] = {
    Cause.FINISHED: 0,
    Cause.RETIRED: 0,
    Cause.LIFETIME: 0,
    Cause.LEFT: 0,
    Cause.DRAINED: 0,
    Cause.UNREACHABLE: os.EX_UNAVAILABLE,  # 69
    Cause.NO_IMPORT: os.EX_SOFTWARE,  # 70
    Cause.NO_START: os.EX_OSERR,  # 71
    Cause.NO_LOG: os.EX_CANTCREAT,  # 73
    Cause.NO_LISTEN: os.EX_OSFILE,  # 72
    Cause.NO_SCRATCH: os.EX_IOERR,  # 74
    Cause.LOST_CONTACT: os.EX_TEMPFAIL,  # 75
    Cause.REFUSED: os.EX_PROTOCOL,  # 76
    Cause.NO_SCHEDULER: os.EX_NOPERM,  # 77
    Cause.UNREADABLE: os.EX_CONFIG,  # 78
    Cause.KILLED: os.EX_NOHOST,  # 68; of its worker, not of the node
    Cause.NO_PYTHON: 127,  # the shell's "not found"
}
BY_STATUS = {status: cause for cause, status in EXIT_STATUS.items() if status}
BY_STATUS[126] = Cause.NO_PYTHON  # found, but cannot be executed

#: Advice that names commands of the grid is in `BatchSystem.advice`.
_ADVICE: dict[Cause, str] = {
    Cause.WALLTIME: "request more with walltime=, or make the tasks shorter",
    Cause.SUSPENDED: "set suspended_timeout= to allow longer suspensions",
    Cause.MEMORY: "request more with memory=, or make the chunks smaller",
    Cause.LOST_CONTACT: "check the network, and whether the process with the cluster"
    " was stopped or busy",
    Cause.BAD_MESSAGE: "install on the nodes what the client sends, or put your modules"
    " where the nodes see them",
    Cause.NO_LOG: "set log_directory= (or shared_directory=) to a directory that the"
    " nodes see and may write to",
    Cause.PROLOGUE: "correct that line, or end it with '|| true' to go on without it",
    Cause.NO_PYTHON: "set python= to a Python that exists on the nodes",
    Cause.UNREADABLE: "set shared_directory= to a directory that the nodes see",
    Cause.UNREACHABLE: "set interface= or host= to one that the nodes reach; let the"
    " firewall pass connections from the nodes to this host (bootstrap_port= and"
    " scheduler_port= fix the ports); behind NAT set contact_address=",
    Cause.NO_SCHEDULER: "let the firewall pass connections from the nodes to that port,"
    " or set scheduler_port= to one that it passes; behind NAT set contact_address=",
    Cause.NO_LISTEN: "set worker_port= to a range with two ports for each node of a"
    " host, and worker_interface= to a name or network that every node has",
    Cause.VERSIONS: "install the same versions on the nodes, or set python= to the"
    " cluster's own environment",
    Cause.NO_ALLOCATION: "read the traceback in the log of the process with the"
    " cluster, where the error is",
    Cause.NO_SCRATCH: "set local_directory= to a directory that is writable on every"
    " node, or leave it out to use the grid's TMPDIR",
    Cause.NO_IMPORT: "install dask, distributed and dask-gridengine for the Python that"
    " python= names",
    Cause.NO_START: "read the node's log; worker_options= has the arguments of the"
    " worker",
    Cause.KILLED: "check for a limit of the grid: request more with walltime= or"
    " memory=",
}


#: For a cluster or a pool with a size of 0.
NONE_REQUESTED = "no nodes requested"


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Why one node ended, and how that is known."""

    cause: Cause
    detail: str = ""  # evidence: text of the node, the grid or the log
    #: Where it is from: "exit report", "bootstrap", "exit status", "log", "grid",
    #: "accounting", "scheduler", "Nanny", "cluster".
    source: str = ""
    advice: str = ""  # what to type next, where it is more exact than the cause's

    def sentence(self, subject: str, job: str = "JOB", *, many: bool = False) -> str:
        """Format it as a sentence with a hint.

        Parameters
        ----------
        subject
            ``"node 3.1 on node7"`` or ``"8 nodes"``.
        job
            The grid's job id, for advice that names it.
        many
            Whether the subject is a plural.

        Examples
        --------
        >>> print(Diagnosis(cause=Cause.NO_PYTHON, detail="x: not found").sentence("a"))
        a could not find Python: x: not found
          Hint: set python= to a Python that exists on the nodes
        """
        text = f"{subject} {verb(self.cause.value, 2 if many else 1)}"
        if self.detail:
            text += f": {self.detail}"
        advice = self.advice or _ADVICE.get(self.cause, "")
        return with_hint(text, advice.format(job=job))
