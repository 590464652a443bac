"""What became of one probed node, and how to speak of several."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dask_gridengine.doctor.node_report import NodeReport
from dask_gridengine.grid_types import AccountingRecord, EndNotice, NodeId

ON_HOST = "on "  # begins a probed node's log, which its shell writes


@dataclass(kw_only=True)
class Outcome:
    """What became of one probed node."""

    node: NodeId
    waited: float | None = None  # seconds in the queue; None if it never started
    report: NodeReport | None = None
    end: EndNotice | None = None
    account: AccountingRecord | None = None  # of one that left no report
    log: str = ""  # the last lines of it
    seen: float | None = None  # when its report's last change was seen here, Unix time

    @property
    def host(self) -> str:
        """Where it ran, as far as anybody knows."""
        if self.report is not None and self.report.host:
            return self.report.host
        if self.log.startswith(ON_HOST):
            return self.log.splitlines()[0][len(ON_HOST) :].strip()
        return self.account.host if self.account is not None else ""

    @property
    def words(self) -> list[str]:
        """The last lines of its log."""
        return [line for line in self.log.splitlines() if not line.startswith(ON_HOST)]

    @property
    def done(self) -> bool:
        """Whether it has looked at everything."""
        return self.report is not None and self.report.step == "done"

    @property
    def over(self) -> bool:
        """Whether nothing more is to come of it."""
        return self.done or self.end is not None


def places(outcomes: Iterable[Outcome]) -> str:
    """The hosts of these, each once: "node1 and node2"."""
    names = sorted({outcome.host or f"node {outcome.node}" for outcome in outcomes})
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def reports(outcomes: Iterable[Outcome]) -> list[NodeReport]:
    """What those have told that have told anything."""
    return [outcome.report for outcome in outcomes if outcome.report is not None]


def size(count: float) -> str:
    """Bytes for people.

    Examples
    --------
    >>> size(1_500_000), size(23.4e9)
    ('1.5 MB', '23.4 GB')
    """
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def spread(values: list[float], unit: str = "s") -> str:
    """One number, or from which to which.

    Examples
    --------
    >>> spread([0.123]), spread([0.1, 2.25])
    ('0.12 s', '0.1 to 2.2 s')
    """
    least, most = f"{min(values):.2g}", f"{max(values):.2g}"
    return f"{most} {unit}" if least == most else f"{least} to {most} {unit}"
