"""Queue instances and their states, as ``qstat -f`` prints them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: Letters of a queue instance's state (man 1 qstat), as people say it.
STATES = {
    "a": "overloaded",
    "A": "overloaded",
    "C": "closed by a calendar",
    "D": "closed by a calendar",
    "E": "in error",
    "S": "suspended by another queue",
    "c": "configured in two ways",
    "d": "disabled",
    "o": "orphaned",
    "s": "suspended",
    "u": "not heard of by the master",
}


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One queue on one host."""

    queue: str
    host: str
    slots: int
    used: int  # or reserved
    states: str  # letters; "" is well

    @property
    def trouble(self) -> str:
        """What keeps jobs from it; "" if nothing does."""
        words = dict.fromkeys(STATES.get(letter, letter) for letter in self.states)
        return ", ".join(words)


def parse_instances(text: str) -> list[Instance]:
    r"""The queue instances of ``qstat -f``.

    Examples
    --------
    >>> parse_instances("a.q@node1  BIP   0/1/8   0.1  lx-amd64   au")[0]
    Instance(queue='a.q', host='node1', slots=8, used=1, states='au')
    """
    return list(_instances(text))


def _instances(text: str) -> Iterator[Instance]:
    for line in text.splitlines():
        words = line.split()
        if len(words) < 4 or "@" not in words[0] or words[2].count("/") not in (1, 2):
            continue
        numbers = words[2].split("/")
        if not all(number.isdigit() for number in numbers):
            continue
        *used, slots = map(int, numbers)
        queue, _, host = words[0].partition("@")
        states = words[5] if len(words) > 5 else ""
        yield Instance(
            queue=queue, host=host, slots=slots, used=sum(used), states=states
        )
