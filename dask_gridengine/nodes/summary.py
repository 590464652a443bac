"""How a cluster's nodes stand: who lives, and in numbers why the others do not."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from dask_gridengine.clock import steady_time
from dask_gridengine.nodes.history import Change, ChangeFollower, NodeHistory, NodeRow


class Standing:
    """Kept up to date by changes, so that it may be asked often.

    Parameters
    ----------
    view
        The nodes.
    clock
        The rosters'; tests give their own.
    """

    def __init__(
        self, view: NodeHistory, *, clock: Callable[[], float] = steady_time
    ) -> None:
        self.view, self.clock = view, clock
        self._follower = ChangeFollower(view, clock=clock)
        self._lock = threading.Lock()  # a notebook asks, and its picture of it does
        #: Nodes that are not gone, in the order of submission.
        self.live: dict[tuple[str, str], NodeRow] = {}
        #: How many are gone, by cause ("" is not known yet) and whether that is a
        #: failure.
        self.ended: Counter[tuple[str, bool]] = Counter()

    def look(self) -> list[Change]:
        """Take in what has changed since the last look, and return it."""
        with self._lock:
            changes = self._follower.look()
            for _, new in changes:
                if new.over:
                    self.live.pop(new.key, None)
                else:
                    self.live[new.key] = new
            if changes:
                self.ended = _causes(self.view)
        return changes

    @property
    def failed(self) -> int:
        """How many ends were failures."""
        return sum(count for (_, failed), count in self.ended.items() if failed)

    def failures(self) -> list[tuple[str, int]]:
        """Causes that are failures, the most frequent first, each with its number."""
        ranked = self.ended.most_common()
        return [(cause, count) for (cause, failed), count in ranked if failed]

    def queued_for(self) -> float | None:
        """Seconds the oldest node in the queue has waited; None if there is none."""
        since = [row.entered["queued"] for row in self._in("queued")]
        return max(0.0, self.clock() - min(since)) if since else None

    def hosts(self, *states: str) -> int:
        """On how many hosts there are nodes in any of these states."""
        return len({row.host for row in self._in(*states)})

    def _in(self, *states: str) -> list[NodeRow]:
        return [row for row in list(self.live.values()) if row.state in states]


def _causes(view: NodeHistory) -> Counter[tuple[str, bool]]:
    """Also of the nodes that no roster keeps any more."""
    found: Counter[tuple[str, bool]] = Counter()
    for registry in view.rosters().values():
        for cause, count in registry.causes().items():
            found[cause.value if cause else "", bool(cause and cause.is_failure)] += (
                count
            )
    return found


def counted(cause: str, count: int) -> str:
    """So many ends of a cause, for people.

    Examples
    --------
    >>> counted("was killed", 1), counted("was killed", 2), counted("", 3)
    ('1 was killed', '2 were killed', '3 not known yet why')
    """
    if count != 1 and cause.startswith("was "):
        cause = cause.replace("was", "were", 1)
    return f"{count} {cause or 'not known yet why'}"
