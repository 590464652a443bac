"""Why a node ended: a fixed list, each with what to type next.

A node that can still speak ends with one of the exit statuses below. They are from
``sysexits.h``; 99 and 100 never occur, because Grid Engine would run the job again or
park it in Eqw (``man 5 sge_conf``, FORBID_RESCHEDULE and FORBID_APPERROR).
"""

from __future__ import annotations

import enum
import os
from dataclasses import dataclass


class Cause(str, enum.Enum):
    """Why a node ended; the value stands in farewells."""

    FINISHED = "finished"  # its worker closed, and nobody here had asked for that
    RETIRED = "was retired"  # by whoever uses the cluster's scheduler
    LIFETIME = "reached its worker's lifetime"
    LEFT = "was told to leave"  # at the door: nobody needed it any more
    DRAINED = "drained"  # a signal asked it to go, and it handed its data over
    EXPIRED = "left before its walltime"  # another took its place
    CANCELLED = "was given back"  # by its own cluster: scale() or close()
    DELETED = "was deleted"  # by its owner or an admin, with qdel
    WALLTIME = "ran into its walltime"
    MEMORY = "ran into the memory limit"
    SUSPENDED = "was suspended by the grid for too long"  # and another took its place
    HOST_LOST = "fell silent, as if its host were lost"
    LOST_CONTACT = "lost its connection to the scheduler"
    BAD_MESSAGE = "closed on an error while it read the scheduler's messages"
    NOT_STARTED = "could not be started by the grid"  # what ends in Eqw elsewhere
    REJECTED = "was refused by the grid"  # its whole array, at submission
    NO_LOG = "could not write its log"
    PROLOGUE = "ended in its job_script_prologue"
    NO_PYTHON = "could not find Python"
    UNREADABLE = "could not read its connection file"
    UNREACHABLE = "could not reach the cluster"
    NEVER_ARRIVED = "ended before it was heard of"
    VERSIONS = "had other versions"
    REFUSED = "was refused"  # its identity was used up, or none of the cluster's
    NO_ALLOCATION = "could not be given an allocation"  # an error of the cluster's own
    NO_SCRATCH = "could not write its scratch directory"
    NO_SCHEDULER = "reached the bootstrap, but not the scheduler"
    NO_LISTEN = "could not listen for its peers"
    NO_IMPORT = "could not import its worker"
    NO_START = "could not start its worker"
    KILLED = "was killed"
    UNKNOWN = "ended without a word"

    @property
    def is_failure(self) -> bool:
        """Whether something is wrong, rather than simply over."""
        return self not in _HARMLESS

    @property
    def on_purpose(self) -> bool:
        """Whether somebody wanted one node less: it is not to be replaced."""
        return self in _ON_PURPOSE

    @property
    def log_says_more(self) -> bool:
        """Whether a node's log may hold more than its diagnosis already tells."""
        return self in _LOG_SAYS_MORE

    @property
    def may_be_the_host(self) -> bool:
        """Whether, early in a node's life, it may be the host's fault."""
        return self.is_failure and self not in _NEVER_THE_HOST


_ON_PURPOSE = {Cause.LEFT, Cause.CANCELLED, Cause.DELETED, Cause.RETIRED}
_HARMLESS = {
    *_ON_PURPOSE,
    Cause.FINISHED,
    Cause.DRAINED,
    Cause.EXPIRED,
    Cause.LIFETIME,
    Cause.SUSPENDED,
}
_LOG_SAYS_MORE = {
    Cause.NO_IMPORT,
    Cause.NO_START,
    Cause.KILLED,
    Cause.BAD_MESSAGE,
    Cause.PROLOGUE,
    Cause.NEVER_ARRIVED,
    Cause.UNKNOWN,
}
_NEVER_THE_HOST = {
    Cause.WALLTIME,
    Cause.MEMORY,
    Cause.LOST_CONTACT,
    Cause.BAD_MESSAGE,
    Cause.REJECTED,
    Cause.REFUSED,
    Cause.NO_ALLOCATION,
}

#: What a node or its shell exits with, and what that means.
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
    Cause.NO_PYTHON: 127,  # the shell's word for "not found"
}
BY_STATUS = {status: cause for cause, status in EXIT_STATUS.items() if status}
BY_STATUS[126] = Cause.NO_PYTHON  # found, but cannot be executed

#: What a grid's own commands could tell stands in its dialect.
_ADVICE: dict[Cause, str] = {
    Cause.WALLTIME: "ask for more with walltime=, or make the tasks shorter",
    Cause.SUSPENDED: "suspended_timeout= says how long a node may be suspended",
    Cause.MEMORY: "ask for more with memory=, or make the chunks smaller",
    Cause.LOST_CONTACT: "the network, or the process with the cluster, stood still",
    Cause.BAD_MESSAGE: "what the client sends must be importable on the nodes: put your"
    " modules and packages where the nodes see them",
    Cause.NO_LOG: "log_directory= (or shared_directory=) must be on a file system that"
    " the nodes see and may write to",
    Cause.PROLOGUE: "correct that line, or end it with '|| true' to go on without it",
    Cause.NO_PYTHON: "python= must name a Python that exists on the nodes",
    Cause.UNREADABLE: "shared_directory= must be on a file system that the nodes see",
    Cause.UNREACHABLE: "interface= or host= must be one that the nodes reach; a"
    " firewall must let them connect to this host: bootstrap_port= and scheduler_port="
    " name the ports; behind NAT contact_address= says where they are",
    Cause.NO_SCHEDULER: "the firewall must let nodes connect to that port, or"
    " scheduler_port= must be one that it does; behind NAT contact_address= says where"
    " it is",
    Cause.NO_LISTEN: "worker_port= needs two ports for each node of a host, and"
    " worker_interface= a name or network that every node has",
    Cause.VERSIONS: "install the same versions on the nodes, or point python= at the"
    " cluster's own environment",
    Cause.NO_ALLOCATION: "the error is of the process with the cluster, whose log has"
    " the traceback",
    Cause.NO_SCRATCH: "local_directory= must be writable on every node; without it"
    " the grid's own TMPDIR is used",
    Cause.NO_IMPORT: "python= must have dask, distributed and dask-gridengine"
    " installed",
    Cause.NO_START: "the node's log says more",
    Cause.KILLED: "a limit of the grid, perhaps: ask for more with walltime= or"
    " memory=",
}


#: For a cluster or a pool with a size of 0.
NONE_REQUESTED = "no nodes requested"


def number_of_nodes(count: int) -> str:
    """ "1 node", "2 nodes", for sentences."""
    return f"{count} node" + ("" if count == 1 else "s")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What became of one node."""

    cause: Cause
    detail: str = ""  # evidence: the node's, the grid's or the log's own words
    #: Who said so: "farewell", "door", "exit status", "grid", "accounting",
    #: "scheduler", "cluster".
    source: str = ""
    advice: str = ""  # what to type next, where it is more exact than the cause's

    def sentence(self, who: str, job: str = "JOB", *, many: bool = False) -> str:
        """Say it to people.

        Parameters
        ----------
        who
            ``"node 3.1 on node7"`` or ``"8 nodes"``.
        job
            The grid's job id, for advice that names it.
        many
            Whether that is more than one.

        Examples
        --------
        >>> print(Diagnosis(cause=Cause.NO_PYTHON, detail="x: not found").sentence("a"))
        a could not find Python: x: not found
          what to do: python= must name a Python that exists on the nodes
        """
        verb = self.cause.value
        if many and verb.startswith("was "):
            verb = verb.replace("was", "were", 1)
        said = f"{who} {verb}"
        if self.detail:
            said += f": {self.detail}"
        if advice := self.advice or _ADVICE.get(self.cause):
            said += f"\n  what to do: {advice.format(job=job)}"
        return said
