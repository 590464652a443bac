"""What ``cluster.jobs()`` and ``cluster.get_logs()`` return of the nodes."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import overload

from distributed import Scheduler
from distributed.utils import Log

from dask_gridengine.clock import steady_time
from dask_gridengine.formatting import format_counts, format_duration, format_size
from dask_gridengine.naming import node_of, nodes_of
from dask_gridengine.nodes.history import JobRow, row_of
from dask_gridengine.nodes.registry import NodeRecord, NodeState
from dask_gridengine.views.colors import colour_of
from dask_gridengine.views.markup import paragraphs, swatch, table

MAX_PRINTED = 20  # rows

_COLUMNS = ("job", "pool", "host", "state", "since", "worker", "peak memory", "cause")


class JobTable(Sequence[JobRow]):
    """A copy of the nodes at one moment, in the order of submission.

    Parameters
    ----------
    records
        The nodes that are kept.
    dropped
        How many more have ended and are not kept.
    """

    def __init__(self, records: Iterable[NodeRecord], *, dropped: int = 0) -> None:
        self._rows = [row_of(record) for record in records]
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
        """Count the nodes in each state; states without nodes are left out."""
        found = Counter(row.state for row in self._rows)
        return {state.value: found[state] for state in NodeState if found[state]}

    def __repr__(self) -> str:
        lines = list(self._lines())
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([*text, *self._footer()])

    def _repr_html_(self) -> str:
        head, *lines = self._lines()
        rows = [[html.escape(cell) for cell in line] for line in lines]
        for row, shown in zip(rows, self._printed(), strict=True):
            row[head.index("state")] = swatch(colour_of(shown)) + shown.state.value
        made = table(head, rows, numbers=("peak memory",))
        return made + paragraphs("\n".join(self._footer()))

    def _lines(self) -> Iterator[tuple[str, ...]]:
        """Return the head and the rows printed; the pool only if there are several."""
        pools = any(row.pool for row in self._rows)
        for job, pool, *rest in [_COLUMNS, *map(self._cells, self._printed())]:
            yield (job, pool, *rest) if pools else (job, *rest)

    def _printed(self) -> list[JobRow]:
        """Return live nodes first, then as many of the last ended as there is room."""
        if len(self._rows) <= MAX_PRINTED:
            return self._rows
        live = [row for row in self._rows if not row.ended]
        ended = [row for row in self._rows if row.ended]
        room = max(0, MAX_PRINTED - len(live))
        printed = [*live[:MAX_PRINTED], *(ended[-room:] if room else [])]
        return sorted(printed, key=self._rows.index)

    def _cells(self, row: JobRow) -> tuple[str, ...]:
        return (
            str(row.id),
            row.pool,
            row.host,
            row.state.value,
            f"{format_duration(self._made - row.since)} ago",
            row.worker or "",
            format_size(row.peak_memory) if row.peak_memory else "",
            row.note,
        )

    def _footer(self) -> Iterator[str]:
        if len(self._rows) > MAX_PRINTED:
            yield f"... {len(self._rows)} nodes in all: {format_counts(self.counts())}"
        if self._dropped:
            yield f"... and {self._dropped} that ended earlier and are not kept"


def log_tail(
    records: Iterable[NodeRecord], workers: bool | str | Collection[str]
) -> dict[str, Log]:
    """Return the log tails of ended nodes, by titles like "ge-3 (node 7.4 on x)".

    `workers` is as in `get_logs`, and may have job ids. Tails come with the exit
    reports: no file is read.
    """
    if not workers:
        return {}
    names = [workers] if isinstance(workers, str) else workers
    requested = None if names is True else {*names, *nodes_of(names)}
    return {
        f"{record.worker} ({record})" if record.worker else str(record): Log(
            record.log_tail
        )
        for record in records
        if record.state is NodeState.GONE
        and record.log_tail
        and (requested is None or requested & {record.worker, *record.id.names})
    }


def addresses(
    scheduler: Scheduler, workers: bool | str | Collection[str]
) -> bool | list[str]:
    """Return the addresses of live workers, which are given by name or address."""
    if isinstance(workers, bool):
        return workers
    requested = {workers} if isinstance(workers, str) else set(workers)
    return [
        address
        for address, ws in scheduler.workers.items()
        if requested & {address, ws.name, node_of(ws.name)}
    ]
