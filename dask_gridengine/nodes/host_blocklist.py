"""A ledger of hosts, against those that swallow one node after the other. Pure.

A host where nodes fail within seconds is always free, so the grid sends it the next
node, and the next: one such host eats an array. After the second in a row it is kept
out of later arrays, and nodes that still land on it sleep at the door.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from dask_gridengine.exit_causes import Cause, Diagnosis

#: Nodes that must fail in a row on a host.
FAILURE_LIMIT = 2
#: A node that fails so many seconds after its arrival, or earlier, fails fast.
FAST_SECONDS = 30.0
#: How long a host is shut the first time; it doubles each time after.
FIRST_BAN = 60.0
LONGEST_BAN = 3600.0
#: How long a host is shut that a node was lost with. For so long Grid Engine itself
#: takes it for up (``max_unheard``), and what it sends there queues for ever.
LOST_BAN = 300.0


@dataclass(kw_only=True, slots=True)
class _Host:
    strikes: int = 0
    bans: int = 0
    until: float = 0.0
    why: Diagnosis | None = None


class HostBlocklist:
    """Which hosts to keep away from, and for how long.

    It never shuts the last host there is: a bad host may be better than none, and what
    is wrong there is what people must hear of.
    """

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}
        #: Where nodes could run; None if that is not known.
        self.possible: frozenset[str] | None = None

    def failed(self, host: str, why: Diagnosis, now: float) -> bool:
        """A node failed fast on a host; whether that shuts it."""
        if not host:
            return False
        entry = self._hosts.setdefault(host, _Host())
        entry.strikes += 1
        entry.why = why
        if entry.strikes < FAILURE_LIMIT or now < entry.until:
            return False
        # Once shut, one more failure after the time is over shuts it again.
        entry.strikes = FAILURE_LIMIT - 1
        entry.until = now + min(FIRST_BAN * 2**entry.bans, LONGEST_BAN)
        entry.bans = min(entry.bans + 1, 16)
        return True

    def lost(self, host: str, why: Diagnosis, now: float) -> None:
        """A node fell silent, as if its host were cut off: once is enough."""
        if host:
            entry = self._hosts.setdefault(host, _Host())
            entry.strikes = max(entry.strikes, 1)
            entry.why, entry.until = why, max(entry.until, now + LOST_BAN)

    def heard(self, host: str) -> None:
        """A node that was taken for lost speaks, or the grid tells of its end."""
        entry = self._hosts.get(host)
        if entry and entry.why and entry.why.cause is Cause.HOST_LOST:
            self._hosts[host] = _Host(bans=entry.bans)

    def worked(self, host: str) -> None:
        """A node became a worker there: nothing is wrong with it."""
        if host:
            self._hosts[host] = _Host()

    def clear(self) -> None:
        """What has failed was nobody's host."""
        for host in self._hosts:
            self._hosts[host] = _Host()

    def shut(self, now: float) -> list[str]:
        """Hosts to keep out of arrays now; empty if that would leave none."""
        return list(self._shut(now))

    def _shut(self, now: float) -> dict[str, _Host]:
        # A copy made in one step: other threads ask, too. An entry is replaced as a
        # whole when its host is cleared, so it stays as it was here.
        hosts = dict(self._hosts)
        bad = {host: hosts[host] for host in sorted(hosts) if now < hosts[host].until}
        others = hosts.keys() if self.possible is None else self.possible
        return bad if set(others) - set(bad) else {}

    def hold(self, host: str, now: float) -> float:
        """Seconds for which a node that lands on this host shall wait at the door."""
        entry = self._hosts.get(host)
        if entry is None or now >= entry.until or host not in self._shut(now):
            return 0.0
        if entry.why is not None and entry.why.cause is Cause.HOST_LOST:
            return 0.0  # whoever comes to the door is not cut off
        return entry.until - now

    def sentences(self, now: float) -> Iterator[str]:
        """Say which hosts are shut, why, and until when."""
        for host, entry in self._shut(now).items():
            assert entry.why is not None
            said = entry.why.cause.value
            if entry.why.detail:
                said += f" ({entry.why.detail})"
            lost = entry.why.cause is Cause.HOST_LOST
            who = "a node there" if lost else "nodes there failed at once, the last one"
            yield (
                f"{host} is avoided for another {entry.until - now:.0f} s: {who} {said}"
            )

    def suspects(self) -> Collection[str]:
        """Hosts where a node has failed fast and none has worked since."""
        return [host for host, entry in self._hosts.items() if entry.strikes]
