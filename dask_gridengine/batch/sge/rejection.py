"""Say which option made Grid Engine refuse an array, and what it can be instead."""

from __future__ import annotations

import difflib
import re

from dask_gridengine.batch.commands import Runner, output_of
from dask_gridengine.batch.sge.qstat import instances
from dask_gridengine.batch.sge.submit_options import hard_requests

NAMED = 12  # values in a hint
#: Text in the reason (8.1.9), the option that is wrong, and what lists its values.
_OPTIONS = (
    (r"unknown queue", "queue", ("qconf", "-sql")),
    (r"parallel environment", "parallel_environment", ("qconf", "-spl")),
    (r"project", "project", ("qconf", "-sprjl")),
    (r"unknown resource", "resource_spec or memory_resource", ("qconf", "-sc")),
    (r"resolve hostname", "resource_spec", ("qconf", "-sel")),
)


def rejection_advice(reason: str, native: str, run: Runner) -> str:
    """Return what to change; "" if the reason is not one of those known."""
    for text, option, command in _OPTIONS:
        if re.search(text, reason, re.IGNORECASE):
            lines = (output_of(command, run) or "").splitlines()
            names = [line.split()[0] for line in lines if line.strip()]
            names = [name for name in names if name[0] not in "#-"]
            return f"{option}: {_values(names, reason, command)}"
    slots = re.search(r"(?<!\S)-pe\s+\S+\s+(\d+)", native)
    if "no suitable queues" not in reason or slots is None:
        return ""
    queue = [word for each in hard_requests(native, ("-q",)) for word in each]
    most = max((there.slots for there in instances(run, *queue)), default=0)
    if not 0 < most < int(slots[1]):
        return ""
    return f"cores={most} or fewer: no queue here has {slots[1]} slots on one host"


def _values(names: list[str], reason: str, command: tuple[str, ...]) -> str:
    if 1 < len(names) <= NAMED:
        return f"there are {', '.join(names)}"
    if len(names) == 1:
        return f"there is only {names[0]}"
    wrong = re.search(r'"([^"]*)"', reason)
    if near := difflib.get_close_matches(wrong[1] if wrong else "", names, n=1):
        return f"did you mean {near[0]!r}?"
    return f"`{' '.join(command)}` lists the names"
