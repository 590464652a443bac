"""What went wrong with nodes, alike failures told as one."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

from dask_gridengine.causes import Diagnosis
from dask_gridengine.nodes import NodeRecord

logger = logging.getLogger(__name__)


class Failures:
    """Counts ends that are failures; a hundred nodes often fail for one reason."""

    def __init__(self) -> None:
        self._counts: Counter[Diagnosis] = Counter()
        self._examples: dict[Diagnosis, NodeRecord] = {}

    def __len__(self) -> int:
        return self._counts.total()

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
        if not known:
            sentence = diagnosis.sentence(str(record), record.id.job)
            if diagnosis.cause.log_says_more:
                sentence += f"\n  its log: {logs / str(record.id)}.log"
            logger.warning("%s", sentence)

    def reasons(self) -> list[str]:
        """One sentence for each kind, most frequent first."""
        return [self._tell(*item) for item in self._counts.most_common()]

    def _tell(self, diagnosis: Diagnosis, count: int) -> str:
        example = self._examples[diagnosis]
        who = str(example) if count == 1 else f"{count} nodes (e.g. {example})"
        return diagnosis.sentence(who, example.id.job)
