"""The configuration of the cell, from ``qconf`` and ``qselect``."""

from __future__ import annotations

import re

from dask_gridengine.batch.commands import Runner, output_of
from dask_gridengine.batch.sge.submit_options import (
    WALLTIME_LIMITS,
    hard_requests,
    shortest,
)


def hosts(native: str, run: Runner) -> frozenset[str] | None:
    """Return the hosts where ``-q``, ``-l`` and ``-pe`` of a line allow nodes.

    Load, free slots and states of queues are ignored. ``qselect`` takes the name of a
    parallel environment without slots, and ends with 1 if it finds nothing.
    """
    requests = hard_requests(native, ("-q", "-l", "-pe"))
    words = [word for request in requests for word in request]
    listed = output_of(["qselect", *words], run) or ""
    instances = (line.strip().partition("@") for line in listed.splitlines())
    return frozenset(host for _, at, host in instances if at and host) or None


def queue_limit(queue: str, run: Runner) -> float | None:
    """Return the shortest walltime limit that a queue has on any host, in seconds.

    To leave early costs less than to be killed.
    """
    return shortest(limits_in(output_of(["qconf", "-sq", queue], run) or ""))


def limits_in(queue_configuration: str) -> list[str]:
    """List the values of ``h_rt`` and ``s_rt`` for all hosts."""
    found = []
    for line in queue_configuration.replace("\\\n", " ").splitlines():
        name, _, values = line.partition(" ")
        if name in WALLTIME_LIMITS:
            parts = re.sub(r"[\[\] ]", "", values).split(",")
            found += [part.rpartition("=")[2] for part in parts if part]
    return found


def array_running(run: Runner) -> int | None:
    """Return ``max_aj_instances``: how many tasks of one array run at the same time.

    0 means any number, 2000 is the default (man 5 sge_conf). The tasks beyond it queue
    even if slots are free, and Grid Engine gives no reason.
    """
    shown = output_of(["qconf", "-sconf"], run) or ""
    found = re.search(r"^max_aj_instances\s+(\d+)\s*$", shown, re.MULTILINE)
    return int(found[1]) or None if found else None


def is_charged_per_job(resource: str, run: Runner) -> bool:
    """Whether a job is charged once for a consumable resource, not for each slot.

    ``qconf -sc`` lists name, shortcut, type, relation, requestable, consumable (YES is
    per slot, JOB is per job, man 5 complex), default and urgency.
    """
    for line in (output_of(["qconf", "-sc"], run) or "").splitlines():
        columns = line.split()
        if len(columns) >= 6 and resource in columns[:2]:
            return columns[5].upper() == "JOB"
    return False
