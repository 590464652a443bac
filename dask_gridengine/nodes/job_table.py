"""``cluster.jobs()``: the nodes there are, and the last that ended, as a table."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

from dask.utils import format_bytes, format_time

from dask_gridengine.clock import steady_time
from dask_gridengine.grid_types import NodeId
from dask_gridengine.nodes.registry import NodeRecord, NodeState

SHOWN = 20  # rows that are printed; all are there


class JobRow(NamedTuple):
    """One node, as it was when the table was made."""

    id: NodeId  # Grid Engine's job id and index, e.g. 123.7
    host: str  # "" until it has arrived
    state: NodeState
    since: float  # seconds since the epoch, when it came into that state
    worker: str | None  # the worker it is, or was
    peak_memory: int  # bytes, of its worker; 0 is not known
    cause: str  # why it ended; "" while it has not
    pid: int  # of the node on its host; 0 until it has arrived
    submitted: float  # seconds since the epoch, as are the next two
    arrived: float | None  # when it said hello
    working: float | None  # when the scheduler had its worker
    pool: str = ""  # "" where there is only one kind of nodes


_COLUMNS = ("job", "pool", "host", "state", "since", "worker", "peak memory", "cause")


class JobTable(Sequence[JobRow]):
    """Nodes in the order of submission; prints itself, also in a notebook.

    Parameters
    ----------
    records
        The nodes; what they are now is copied.
    dropped
        How many more have ended and are not kept.
    """

    def __init__(self, records: Iterable[NodeRecord], *, dropped: int = 0) -> None:
        self._rows = [_row(record) for record in records]
        self._dropped = dropped
        self._made = steady_time()

    @overload
    def __getitem__(self, index: int) -> JobRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[JobRow]: ...
    def __getitem__(self, index: int | slice) -> JobRow | list[JobRow]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def counts(self) -> dict[str, int]:
        """How many nodes are in each state; states nobody is in are left out."""
        found = Counter(row.state for row in self._rows)
        return {state.value: found[state] for state in NodeState if found[state]}

    def __repr__(self) -> str:
        lines = list(self._lines())
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = [
            "  ".join(
                cell.ljust(width) for cell, width in zip(line, widths, strict=True)
            )
            for line in lines
        ]
        return "\n".join([*(line.rstrip() for line in text), *self._rest()])

    def _repr_html_(self) -> str:
        columns, *lines = self._lines()
        rows = [
            "".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in lines
        ]
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        rest = "".join(f"<p>{html.escape(line)}</p>" for line in self._rest())
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"
        )

    def _lines(self) -> Iterator[tuple[str, ...]]:
        """The head and what is shown, without a column that is empty in all rows."""
        pools = any(row.pool for row in self._rows)
        for job, pool, *rest in [_COLUMNS, *self._shown()]:
            yield (job, pool, *rest) if pools else (job, *rest)

    def _shown(self) -> Iterator[tuple[str, ...]]:
        # Those that live are what people look for; of the others the last ones.
        rows = self._rows
        if len(rows) > SHOWN:
            live = [row for row in rows if row.state is not NodeState.GONE][:SHOWN]
            gone = [row for row in rows if row.state is NodeState.GONE]
            room = SHOWN - len(live)
            rows = sorted([*live, *(gone[-room:] if room else [])], key=rows.index)
        for row in rows:
            yield (
                str(row.id),
                row.pool,
                row.host,
                row.state.value,
                f"{format_time(max(0.0, self._made - row.since))} ago",
                row.worker or "",
                format_bytes(row.peak_memory) if row.peak_memory else "",
                row.cause,
            )

    def _rest(self) -> Iterator[str]:
        if len(self._rows) > SHOWN:
            states = ", ".join(f"{n} {state}" for state, n in self.counts().items())
            yield f"... {len(self._rows)} nodes in all: {states}"
        if self._dropped:
            yield f"... and {self._dropped} that ended earlier and are not kept"


def _row(record: NodeRecord) -> JobRow:
    over = record.diagnosis is not None and record.ending
    return JobRow(
        record.id,
        record.host,
        record.shown,
        record.shown_since,
        record.worker,
        record.peak_memory,
        record.diagnosis.cause.value if over and record.diagnosis else "",
        record.pid,
        record.submitted,
        record.arrived,
        record.working,
        record.pool,
    )
