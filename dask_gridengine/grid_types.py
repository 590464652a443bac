"""The types of the launcher interface: node ids, requests, end notices, reports."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple


class NodeId(NamedTuple):
    """One array task: Grid Engine's job id and the task's place in the array."""

    job: str
    # Counts from 1, as SGE_TASK_ID; hides `tuple.index`, which is not needed.
    index: int  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.job}.{self.index}"

    @property
    def names(self) -> set[str]:
        """What users may call it: as Grid Engine and as Slurm write it."""
        return {f"{self.job}.{self.index}", f"{self.job}_{self.index}"}


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """The request for one node; all nodes of an array have the same.

    All users of the grid can read it (``qstat -j``), so it holds no secret.
    """

    name: str  # the job's name in qstat
    command: tuple[str, ...]  # argv of the node
    environment: Mapping[str, str] = field(default_factory=dict)
    native: str = ""  # submit options as one line, e.g. "-l h_rt=3600 -pe smp 4"
    slots: int = 1  # per node, for local processes
    walltime: float | None = None  # seconds, for local processes


@dataclass(frozen=True, kw_only=True)
class EndNotice:
    """A launcher's notice that a node has ended.

    `exit_status` and `signal` are None if unknown, and for a node that was cancelled
    while it queued. `cancelled`, `deleted` and `unstarted` exclude each other.
    """

    node: NodeId
    exit_status: int | None = None
    signal: str | None = None  # e.g. "SIGKILL"
    cancelled: bool = False  # by us, before or after it started
    reason: str = ""  # the grid's text, if any
    ran: float | None = None  # seconds; None is unknown
    peak_memory: int = 0  # bytes in use, sampled by the grid; 0: unknown
    #: Bytes of the job's address space, which Grid Engine's limits count; 0: unknown.
    address_space: int = 0
    deleted: bool = False  # by a person (qdel), queued or running
    unstarted: bool = False  # the grid could not start it, as with Eqw
    limit: str = ""  # "walltime" or "memory", if the grid reports that one ended it

    def __str__(self) -> str:
        text = self._kind()
        if self.ran is not None and not self.unstarted:
            text += f" after {self.ran:.{0 if self.ran >= 10 else 1}f} s"
        if self.peak_memory:
            text += f", peak memory {_megabytes(self.peak_memory)}"
        if self.address_space:
            text += f", address space {_megabytes(self.address_space)}"
        return f"{text} ({self.reason})" if self.reason else text

    def _kind(self) -> str:
        if self.cancelled:
            return "cancelled"
        if self.deleted:
            return "deleted"
        if self.unstarted:
            return "could not be started"
        if self.signal:
            return f"killed by {self.signal}"
        if self.exit_status is not None:
            return f"exit status {self.exit_status}"
        return "ended, exit status unknown"


class Listed(Enum):
    """A node in the grid's list of jobs that has not ended."""

    LIVE = "queued, running or suspended"
    ENDING = "the grid ends it: its processes, or an epilog, may still run"


@dataclass(frozen=True)
class AccountingRecord:
    """The grid's accounting record of a node that has ended."""

    host: str
    failed: str  # e.g. "28: changing into working directory"; "" is no failure
    exit_status: int | None = None  # 128 and more: killed by a signal
    ran: float | None = None  # seconds
    peak_memory: int = 0  # bytes in use; 0: unknown
    address_space: int = 0  # bytes; 0: unknown


@dataclass(frozen=True, kw_only=True)
class MarkedJob:
    """One array of a cluster in the grid's list."""

    id: str
    name: str  # of the cluster
    directory: Path | None  # of the cluster; None if the job does not name it
    states: dict[str, int]  # the grid's names and the number of nodes: {"r": 2}
    submitted: str  # as the grid prints the time
    system: str = "gridengine"  # name of the batch system


@dataclass(frozen=True, kw_only=True)
class ArrayReport:
    """The grid's current information about an array."""

    walltime: float | None = None  # seconds, of the effective request
    #: Effective options that the submission did not have, e.g. "-l h_rt=20": added by
    #: the site's defaults (``sge_request``) or its job submission verifier.
    added: str = ""
    reasons: tuple[str, ...] = ()  # for which its nodes queue, e.g. "on hold: ..."
    #: Seconds from SIGTERM to SIGKILL, if the grid ends a job by both.
    kill_delay: float | None = None


EndCallback = Callable[[EndNotice], None]


def signal_name(number: int) -> str:
    """Name a signal, also one that Python does not name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _megabytes(size: int) -> str:
    """Format bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
