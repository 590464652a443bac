"""What went wrong with nodes, alike failures told as one; and when to stop trying."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from pathlib import Path

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import NodeRecord

logger = logging.getLogger(__name__)

#: So many nodes in a row must fail alike before the next ones count as hopeless.
ALIKE = 3
#: Kinds of failures that are kept, each with an example; the oldest is dropped first.
#: Details may differ from node to node, and each example is a whole record.
MOST_KINDS = 200
#: What the next node will meet, too, wherever it runs.
_ALIKE_ON_ALL_HOSTS = {Cause.NO_ALLOCATION, Cause.MEMORY}


class Failures:
    """Counts ends that are failures; a hundred nodes often fail for one reason."""

    def __init__(self) -> None:
        self._counts: Counter[Diagnosis] = Counter()
        self._examples: dict[Diagnosis, NodeRecord] = {}
        self._dropped = 0  # nodes of kinds that are not kept any more
        #: Since a node last became a worker: where nodes failed to, by cause.
        self._row: dict[Cause, list[str]] = defaultdict(list)

    def __len__(self) -> int:
        return self._counts.total() + self._dropped

    def note(self, record: NodeRecord, diagnosis: Diagnosis, logs: Path) -> None:
        """Enter one, and log a sentence if it is the first of its kind.

        Parameters
        ----------
        record
            The node.
        diagnosis
            Why it ended.
        logs
            Where its log is, for people.
        """
        known = diagnosis in self._examples
        # Before it is counted: another thread may ask for the reasons in between.
        self._examples.setdefault(diagnosis, record)
        self._counts[diagnosis] += 1
        self._bound()
        if record.working is None:
            anywhere = diagnosis.cause in _ALIKE_ON_ALL_HOSTS
            self._row[diagnosis.cause].append("" if anywhere else record.host)
        if not known:
            sentence = diagnosis.sentence(str(record), record.id.job)
            if diagnosis.cause.log_may_help:
                sentence += f"\n  its log: {logs / record.log}.log"
            logger.warning("%s", sentence)

    def correct(self, old: Diagnosis, new: Diagnosis) -> None:
        """One that was entered is known better now."""
        if self._counts[old] and old != new:
            if new.cause.is_failure:
                self._examples.setdefault(new, self._examples[old])
                self._counts[new] += 1
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]
            self._bound()

    def _bound(self) -> None:
        while len(self._examples) > MOST_KINDS:
            oldest = next(iter(self._examples))
            # An example goes last: another thread may be telling the reasons.
            self._dropped += self._counts.pop(oldest, 0)
            del self._examples[oldest]

    def rejected(self, diagnosis: Diagnosis) -> None:
        """The grid refused an array; that is nobody's host."""
        self._row[diagnosis.cause].append("")

    def reset(self) -> None:
        """A node has become a worker, or the user asks anew: count from here."""
        self._row.clear()

    def persistent_failure(self, *, hosts: int | None = None) -> Cause | None:
        """The cause for which the next node will fail as well, as far as one can tell.

        Nodes that fail alike on *different* hosts fail for what they have in common;
        on one host it may be the host, and others may do.

        Parameters
        ----------
        hosts
            How many hosts there are to choose from; None if that is not known.
        """
        for cause, places in list(self._row.items()):
            # Where a host is not known it cannot be excused either.
            different = len({*places} - {""}) + places.count("")
            if len(places) >= ALIKE and (different > 1 or hosts == 1):
                return cause
        return None

    def reasons(self) -> list[str]:
        """One sentence for each kind, most frequent first."""
        kinds = self._counts.most_common()
        lines = [self._tell(*kind, self._examples.get(kind[0])) for kind in kinds]
        return [line for line in lines if line]

    def _tell(
        self, diagnosis: Diagnosis, count: int, example: NodeRecord | None
    ) -> str:
        if example is None:
            return ""  # dropped just now
        who = str(example) if count == 1 else f"{count} nodes (e.g. {example})"
        return diagnosis.sentence(who, example.id.job, many=count > 1)
