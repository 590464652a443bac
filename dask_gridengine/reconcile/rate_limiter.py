"""Limit the rate of replacements: a token bucket with back-off.

The number of submissions per time is bounded, whatever fails: administrators ban
accounts whose clusters resubmit for ever.
"""

from __future__ import annotations

#: Seconds in which an empty bucket fills again.
REFILL_SECONDS = 600.0
#: Seconds of pause after the first replacement that failed; they double.
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 60.0


def doubled(first: float, count: int, longest: float) -> float:
    """Return a pause that was doubled so often."""
    # min() first: 2**10000 exceeds a float.
    return min(first * 2.0 ** min(count, 20), longest)


class RateLimiter:
    """Grants replacements of lost nodes.

    The bucket holds two replacements per node, at least eight. Each takes one; an empty
    bucket fills in `REFILL_SECONDS`. Replacements that fail are followed by pauses that
    double, so many losses in a bad time become one array.
    """

    def __init__(self, now: float) -> None:
        self._capacity = 8.0
        self._tokens = self._capacity
        self._filled = now
        self._fruitless = 0  # grants in a row after which no node has worked
        self._not_before = now

    def resize(self, desired: int) -> None:
        """Fit the bucket to the desired number of nodes."""
        capacity = max(8.0, 2.0 * desired)
        self._tokens += max(0.0, capacity - self._capacity)
        self._capacity = capacity

    def renew(self, now: float) -> None:
        """Fill the bucket and end the pause: the user has scaled."""
        self._tokens, self._filled = self._capacity, now
        self.note_success()
        self._not_before = now

    def note_success(self) -> None:
        """A node has worked for a while: the next loss is replaced at once."""
        self._fruitless = 0

    def grant(self, wanted: int, now: float) -> int:
        """How many of `wanted` nodes may be submitted now."""
        if wanted <= 0 or now < self._not_before:
            return 0
        self._fill(now)
        count = min(wanted, int(self._tokens))
        if count:
            self._tokens -= count
            if self._fruitless:  # the first loss is replaced at once
                pause = doubled(FIRST_PAUSE, self._fruitless - 1, LONGEST_PAUSE)
                self._not_before = now + pause
            self._fruitless += 1
        return count

    def give_back(self, count: int) -> None:
        """Take back grants that were not submitted after all."""
        self._tokens = min(self._capacity, self._tokens + count)

    def wait(self, now: float) -> float:
        """Seconds until something can be granted; 0 if it can be now."""
        self._fill(now)
        missing = max(0.0, 1.0 - self._tokens)
        return max(
            0.0, self._not_before - now, missing * REFILL_SECONDS / self._capacity
        )

    def _fill(self, now: float) -> None:
        gained = (now - self._filled) * self._capacity / REFILL_SECONDS
        self._tokens = min(self._capacity, self._tokens + max(0.0, gained))
        self._filled = now
