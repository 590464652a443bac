"""Failures of nodes, grouped by what they have in common."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from pathlib import Path

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import NodeRecord

logger = logging.getLogger(__name__)

#: Equal failures in a row after which the next nodes are expected to fail as well.
ALIKE = 3
#: Groups that are kept, each with an example; the oldest is dropped first. Details may
#: differ from node to node, and each example is a whole record.
MAX_GROUPS = 200
#: Causes that do not depend on the host.
_ON_ALL_HOSTS = {Cause.NO_ALLOCATION, Cause.MEMORY}


class Failures:
    """Counts ends that are failures; a hundred nodes often fail for one reason."""

    def __init__(self) -> None:
        self._counts: Counter[Diagnosis] = Counter()
        self._examples: dict[Diagnosis, NodeRecord] = {}
        self._dropped = 0  # nodes of groups that are not kept any more
        #: Hosts of failures since a node last became a worker, by cause; "" is unknown.
        self._recent: dict[Cause, list[str]] = defaultdict(list)

    def __len__(self) -> int:
        return self._counts.total() + self._dropped

    def add(self, record: NodeRecord, diagnosis: Diagnosis, logs: Path) -> None:
        """Count a failure, and log the first of its group."""
        known = diagnosis in self._examples
        # Before it is counted: another thread may read the reasons in between.
        self._examples.setdefault(diagnosis, record)
        self._counts[diagnosis] += 1
        self._drop_oldest()
        if record.working is None:
            any_host = diagnosis.cause in _ON_ALL_HOSTS
            self._recent[diagnosis.cause].append("" if any_host else record.host)
        if not known:
            sentence = diagnosis.sentence(str(record), record.id.job)
            if diagnosis.cause.log_may_help:
                sentence += f"\n  its log: {logs / record.log}.log"
            logger.warning("%s", sentence)

    def correct(self, old: Diagnosis, new: Diagnosis) -> None:
        """Replace the diagnosis of one failure that was counted."""
        if self._counts[old] and old != new:
            if new.cause.is_failure:
                self._examples.setdefault(new, self._examples[old])
                self._counts[new] += 1
            self._counts[old] -= 1
            if not self._counts[old]:
                del self._counts[old]
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        while len(self._examples) > MAX_GROUPS:
            oldest = next(iter(self._examples))
            # The example is dropped last: another thread may be reading the reasons.
            self._dropped += self._counts.pop(oldest, 0)
            del self._examples[oldest]

    def rejected(self) -> None:
        """Note that the grid refused an array, which does not depend on a host."""
        self._recent[Cause.REJECTED].append("")

    def reset(self) -> None:
        """Forget the recent failures: a node works, or the user tries again."""
        self._recent.clear()

    def persistent_failure(self, *, hosts: int | None = None) -> Cause | None:
        """Return the cause for which the next node is expected to fail as well.

        Nodes that fail alike on *different* hosts fail for what they have in common;
        on one host the host may be the reason, unless it is the only one of `hosts`.
        """
        for cause, failed_hosts in list(self._recent.items()):
            # An unknown host counts as a different one.
            different = len({*failed_hosts} - {""}) + failed_hosts.count("")
            if len(failed_hosts) >= ALIKE and (different > 1 or hosts == 1):
                return cause
        return None

    def reasons(self) -> list[str]:
        """Format one sentence for each group, most frequent first."""
        sentences = []
        for diagnosis, count in self._counts.most_common():
            example = self._examples.get(diagnosis)
            if example is None:
                continue  # dropped just now
            subject = str(example) if count == 1 else f"{count} nodes (e.g. {example})"
            sentence = diagnosis.sentence(subject, example.id.job, many=count > 1)
            sentences.append(sentence)
        return sentences
