"""Why nodes still queue, in Grid Engine's words, while it still knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dask_gridengine.batch.sge.array_report import scheduling_info
from dask_gridengine.doctor.commands import Commands

NAMED = 6  # lines of a reason


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a job stands."""

    reasons: tuple[str, ...] = ()  # why it waits
    running: Mapping[int, str] = field(default_factory=dict)  # index to queue@host


async def standing(commands: Commands, job: str) -> Standing:
    """Ask for both; empty where Grid Engine does not tell."""
    shown = await commands.run("qstat", "-j", job)
    listed = await commands.run("qstat", "-s", "r")
    return Standing(
        reasons=tuple(scheduling_info(shown.text)[:NAMED] if shown.ok else ()),
        running=running(listed.text, job) if listed.ok else {},
    )


def running(text: str, job: str) -> dict[int, str]:
    """Where ``qstat -s r`` shows tasks of this job, by index.

    Examples
    --------
    >>> running(" 3 0.5 name root r 11/25/2026 10:00:00 all.q@node1 1 2", "3")
    {2: 'all.q@node1'}
    """
    found = {}
    for line in text.splitlines():
        words = line.split()
        places = [word for word in words if "@" in word]
        if words[:1] == [job] and places and words[-1].isdigit():
            found[int(words[-1])] = places[0]
    return found
