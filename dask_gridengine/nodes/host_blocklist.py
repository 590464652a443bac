"""Hosts where nodes fail repeatedly, and how long to exclude them. Pure.

A host where nodes fail within seconds is always free, so the grid sends it node after
node: one such host consumes an array. After its second failure in a row it is excluded
from later arrays, and nodes that start there anyhow have to wait.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.formatting import format_duration

#: Failures in a row after which a host is blocked.
FAILURE_LIMIT = 2
#: A failure counts if it comes within this many seconds of the node's hello.
FAST_SECONDS = 30.0
#: Seconds for which a host is blocked at first; they double each time.
FIRST_BLOCK = 60.0
LONGEST_BLOCK = 3600.0
#: Seconds for which a lost host is blocked. Grid Engine itself takes it for up for so
#: long (``max_unheard``), and a node that it sends there queues for ever.
LOST_BLOCK = 300.0


@dataclass(kw_only=True, slots=True)
class _Host:
    failures: int = 0
    blocks: int = 0
    until: float = 0.0
    reason: Diagnosis | None = None

    @property
    def lost(self) -> bool:
        return self.reason is not None and self.reason.cause is Cause.HOST_LOST


class HostBlocklist:
    """Decides which hosts are blocked.

    It never blocks the last host: a bad host may be better than none, and its error is
    what the user has to see.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        self._latest = 0.0  # until when any host is blocked
        #: Hosts where nodes could run; None if they are not known.
        self.possible: frozenset[str] | None = None

    def failed(self, host: str, reason: Diagnosis, now: float) -> None:
        """Note that a node failed fast, which may block its host."""
        if not host:
            return
        entry = self._hosts.setdefault(host, _Host())
        entry.failures += 1
        entry.reason = reason
        if entry.failures < FAILURE_LIMIT or now < entry.until:
            return
        # After the first block, one more failure blocks it again.
        entry.failures = FAILURE_LIMIT - 1
        entry.until = now + min(FIRST_BLOCK * 2**entry.blocks, LONGEST_BLOCK)
        self._latest = max(self._latest, entry.until)
        entry.blocks = min(entry.blocks + 1, 16)

    def lost(self, host: str, reason: Diagnosis, now: float) -> None:
        """Note that a node stopped responding, which blocks its host at once."""
        if host:
            entry = self._hosts.setdefault(host, _Host())
            entry.failures = max(entry.failures, 1)
            entry.reason, entry.until = reason, max(entry.until, now + LOST_BLOCK)
            self._latest = max(self._latest, entry.until)

    def responded(self, host: str) -> None:
        """Note that a lost node reported, or that the grid reported its end."""
        entry = self._hosts.get(host)
        if entry and entry.lost:
            self._hosts[host] = _Host(blocks=entry.blocks)

    def worked(self, host: str) -> None:
        """Note that a node became a worker: the host is in order."""
        if host:
            self._hosts[host] = _Host()

    def clear(self) -> None:
        """Forget all failures."""
        self._hosts = {host: _Host() for host in self._hosts}

    def blocked(self, now: float) -> list[str]:
        """List the hosts to exclude from arrays now."""
        return list(self._blocked(now))

    def _blocked(self, now: float) -> dict[str, _Host]:
        if now >= self._latest:
            return {}  # asked for each worker that registers
        # A copy made in one step, because other threads read this. An entry is replaced
        # as a whole when its host is cleared, so the copy does not change.
        hosts = dict(self._hosts)
        bad = {host: hosts[host] for host in sorted(hosts) if now < hosts[host].until}
        possible = hosts.keys() if self.possible is None else self.possible
        return bad if set(possible) - set(bad) else {}

    def block_seconds(self, host: str, now: float) -> float:
        """Return for how many seconds a node that starts on this host has to wait."""
        entry = self._hosts.get(host)
        if entry is None or now >= entry.until or host not in self._blocked(now):
            return 0.0
        return 0.0 if entry.lost else entry.until - now  # a hello proves it is not lost

    def sentences(self, now: float) -> Iterator[str]:
        """Describe each blocked host: for how long, and why."""
        for host, entry in self._blocked(now).items():
            reason = entry.reason
            assert reason is not None
            last = reason.cause.value + (f" ({reason.detail})" if reason.detail else "")
            why = (
                f"a node there {last}"
                if entry.lost
                else f"nodes failed shortly after starting there, the last one {last}"
            )
            left = format_duration(entry.until - now)
            yield f"Excluding host {host} for {left}: {why}"

    def suspects(self) -> Collection[str]:
        """List the hosts where a node has failed fast and none has worked since."""
        return [host for host, entry in self._hosts.items() if entry.failures]
