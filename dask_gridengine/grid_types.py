"""What a launcher takes and tells: what a node asks for, what it is called, its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class NodeId(NamedTuple):
    """One array task: Grid Engine's job id and the task's place in the array.

    Examples
    --------
    >>> str(NodeId("123", 7))
    '123.7'
    """

    job: str
    # Counts from 1, as SGE_TASK_ID does; hides `tuple.index`, which no one needs here.
    index: int  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.job}.{self.index}"


@dataclass(frozen=True, kw_only=True)
class NodeRequest:
    """What one node asks of the grid; every node of an array asks the same.

    Anybody on the grid can read all of it (``qstat -j``), so it holds no secret.
    """

    name: str  # the job's name in qstat
    command: tuple[str, ...]  # argv of the node
    environment: Mapping[str, str] = field(default_factory=dict)
    native: str = ""  # submit options as one line, e.g. "-l h_rt=3600 -pe smp 4"
    slots: int = 1  # per node; for the process launcher, which has no ``-pe``
    walltime: float | None = None  # seconds; for the process launcher, as h_rt


@dataclass(frozen=True, kw_only=True)
class EndNotice:
    """A launcher's word that one node is over, and what it knows of why.

    ``exit_status`` and ``signal`` are None where the grid does not tell. A node that
    was cancelled while it queued has neither, and ``cancelled`` is True.
    ``cancelled``, ``deleted`` and ``unstarted`` exclude each other.
    """

    node: NodeId
    exit_status: int | None = None
    signal: str | None = None  # e.g. "SIGKILL"
    cancelled: bool = False  # by us, before or after it started
    reason: str = ""  # the grid's own words, where it has some
    ran: float | None = None  # seconds, where known; 0.0 is known
    peak_memory: int = 0  # bytes of the whole job, as the grid samples it; 0: unknown
    deleted: bool = False  # by somebody else than us (qdel), queued or running
    unstarted: bool = False  # the grid could not start it: what ends in Eqw elsewhere
    limit: str = ""  # "walltime" or "memory", where the grid says which one ended it

    def __str__(self) -> str:
        said = self._how()
        if self.ran is not None and not self.unstarted:
            said += f" after {self.ran:.{0 if self.ran >= 10 else 1}f} s"
        if self.peak_memory:
            said += f", peak memory {_megabytes(self.peak_memory)}"
        return f"{said} ({self.reason})" if self.reason else said

    def _how(self) -> str:
        if self.cancelled:
            said = "cancelled"
        elif self.deleted:
            said = "deleted"
        elif self.unstarted:
            said = "could not be started"
        elif self.signal:
            said = f"killed by {self.signal}"
        elif self.exit_status is not None:
            said = f"exit status {self.exit_status}"
        else:
            said = "ended, the grid does not say how"
        return said


@dataclass(frozen=True)
class AccountingRecord:
    """What the grid's accounting says of a node that has ended."""

    host: str
    failed: str  # e.g. "28: changing into working directory"; "" if nothing did
    exit_status: int | None = None  # 128 and more: killed by a signal
    ran: float | None = None  # seconds
    peak_memory: int = 0  # bytes; 0: unknown


@dataclass(frozen=True, kw_only=True)
class ArrayReport:
    """What the grid says of an array that it has."""

    walltime: float | None = None  # seconds, of the request that is in force
    #: Options in force that the submission did not give, e.g. "-l h_rt=20": a site's
    #: defaults (``sge_request``) or its job submission verifier added them.
    added: str = ""
    reasons: tuple[str, ...] = ()  # why its nodes queue, e.g. "on hold: ..."


EndCallback = Callable[[EndNotice], None]


def signal_name(number: int) -> str:
    """Name a signal, also one this Python does not know.

    Examples
    --------
    >>> signal_name(9), signal_name(63)
    ('SIGKILL', 'signal 63')
    """
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _megabytes(size: int) -> str:
    """Bytes for people.

    Examples
    --------
    >>> _megabytes(3_284_992), _megabytes(12_345_678_901)
    ('3.3 MB', '12.3 GB')
    """
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
