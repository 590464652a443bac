"""Who has had nothing to do, and for how long. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class Idleness:
    """Since when each node has been idle, as far as somebody has looked."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def look(self, idle: Iterable[str], now: float) -> None:
        """These are idle now, and no others; whoever worked in between begins anew."""
        self._since = {name: self._since.get(name, now) for name in idle}

    def longer_than(self, seconds: float, now: float) -> set[str]:
        """Those that were idle whenever somebody looked for so long."""
        return {name for name, since in self._since.items() if now - since >= seconds}
