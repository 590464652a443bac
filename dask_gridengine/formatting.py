"""Format numbers for people: durations, counts, causes."""

from __future__ import annotations

from collections.abc import Mapping


def format_duration(seconds: float) -> str:
    """Format a duration with two digits and one unit.

    Examples
    --------
    >>> [format_duration(s) for s in (0.001, 0.2, 12.34, 90, 5400, 200_000, 1e7)]
    ['0 s', '0.2 s', '12 s', '1.5 min', '1.5 h', '2.3 d', '116 d']
    """
    value, unit = max(0.0, seconds), "s"
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if value >= size:
            value, unit = value / size, name
            break
    if value < 0.01:
        return f"0 {unit}"
    return f"{value:.2g} {unit}" if value < 10 else f"{value:.0f} {unit}"


def format_counts(counts: Mapping[str, int]) -> str:
    """Join counts by name; zeros are left out.

    Examples
    --------
    >>> format_counts({"queued": 3, "gone": 0, "working": 2})
    '3 queued, 2 working'
    """
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def format_cause(cause: str, count: int) -> str:
    """Format how many nodes ended for one cause, with the verb in the right number.

    Examples
    --------
    >>> format_cause("was killed", 1), format_cause("was killed", 2)
    ('1 was killed', '2 were killed')
    >>> format_cause("", 3)
    '3 ended, cause not yet known'
    """
    if count != 1 and cause.startswith("was "):
        cause = cause.replace("was", "were", 1)
    return f"{count} {cause or 'ended, cause not yet known'}"


def plural(count: int, noun: str) -> str:
    """Format a count with its noun.

    Examples
    --------
    >>> plural(1, "host"), plural(2, "host")
    ('1 host', '2 hosts')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
