"""Format values for people: durations, sizes, counts, causes; nothing else does."""

from __future__ import annotations

import re
from collections.abc import Mapping


def format_duration(seconds: float) -> str:
    """Format a duration with two digits and one unit.

    Examples
    --------
    >>> [format_duration(s) for s in (0, 0.0791, 0.2, 12.34, 90, 5400, 200_000)]
    ['0 s', '79 ms', '0.2 s', '12 s', '1.5 min', '1.5 h', '2.3 d']
    """
    value, unit = max(0.0, seconds), "s"
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if value >= size:
            value, unit = value / size, name
            break
    if value < 0.1:
        return f"{1000 * value:.0f} ms" if value >= 0.0005 else "0 s"
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"


def format_size(size: float) -> str:
    """Format bytes with three digits, in Dask's units.

    Examples
    --------
    >>> [format_size(s) for s in (8, 80_000_000, 8 * 10**9, 2**40)]
    ['8 B', '76.3 MiB', '7.45 GiB', '1 TiB']
    """
    value, unit = float(size), "B"
    for name in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        if value < 0.9 * 1024:
            break
        value, unit = value / 1024, name
    return f"{value:.3g} {unit}"


def plural(count: int, noun: str) -> str:
    """Format a count with its noun.

    Examples
    --------
    >>> plural(1, "host"), plural(2, "host")
    ('1 host', '2 hosts')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(amounts: Mapping[str, float]) -> str:
    """Format resources.

    Examples
    --------
    >>> listed({"GPU": 1, "BIG": 2}), listed({})
    ('GPU 1, BIG 2', 'nothing')
    """
    return ", ".join(f"{k} {v:g}" for k, v in amounts.items()) or "nothing"


def format_counts(counts: Mapping[str, int]) -> str:
    """Join counts by name; zeros are left out.

    Examples
    --------
    >>> format_counts({"queued": 3, "gone": 0, "working": 2})
    '3 queued, 2 working'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def verb(cause: str, count: int) -> str:
    """Return what ended a node, as the verb of a sentence about `count` nodes.

    Examples
    --------
    >>> verb("was killed", 2), verb("ran into its walltime", 3)
    ('were killed', 'ran into their walltime')
    """
    if count == 1:
        return cause
    return re.sub(r"\bits\b", "their", re.sub(r"^was\b", "were", cause))


def format_cause(cause: str, count: int) -> str:
    """Format how many nodes ended for one cause.

    Examples
    --------
    >>> format_cause("was killed", 1), format_cause("was killed", 2)
    ('1 was killed', '2 were killed')
    >>> format_cause("", 3)
    '3 ended, cause not yet known'
    """
    return f"{count} {verb(cause, count) or 'ended, cause not yet known'}"
