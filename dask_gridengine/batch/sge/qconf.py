"""The configuration of the cell, from ``qconf`` and ``qselect``."""

from __future__ import annotations

import re

from dask_gridengine.batch.commands import Runner, output_of
from dask_gridengine.batch.sge.submit_options import (
    WALLTIME_LIMITS,
    hard_requests,
    shortest,
)

#: What a consumable resource is charged for (man 5 complex). Son of Grid Engine has no
#: HOST; Univa Grid Engine and the Open Cluster Scheduler have.
CHARGED_PER = {"YES": "slot", "JOB": "job", "HOST": "host"}


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
    shown = attributes(output_of(["qconf", "-sq", queue], run) or "")
    values = ",".join(shown.get(name, "") for name in WALLTIME_LIMITS)
    # Hosts may differ: "INFINITY,[node1=1:00:00]".
    parts = re.sub(r"[\[\] ]", "", values).split(",")
    return shortest(part.rpartition("=")[2] for part in parts)


def array_running(run: Runner) -> int | None:
    """Return ``max_aj_instances``: how many tasks of one array run at the same time.

    0 means any number, 2000 is the default (man 5 sge_conf). The tasks beyond it queue
    even if slots are free, and Grid Engine gives no reason.
    """
    shown = attributes(output_of(["qconf", "-sconf"], run) or "")
    count = shown.get("max_aj_instances", "")
    return int(count) or None if count.isdigit() else None


def attributes(text: str) -> dict[str, str]:
    r"""Read lines of name and value, as ``qconf -sq`` prints them.

    Examples
    --------
    >>> attributes("qname  all.q\nhostlist a b \\\n   c\n# comment")
    {'qname': 'all.q', 'hostlist': 'a b c'}
    """
    found = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#"):
            found[name] = " ".join(value.split())
    return found


def complexes(listing: str) -> list[dict[str, str]]:
    r"""Read the table that ``qconf -sc`` prints: each complex by the names of columns.

    Examples
    --------
    >>> complexes("#name shortcut consumable\n#-----\nh_vmem vm JOB")
    [{'name': 'h_vmem', 'shortcut': 'vm', 'consumable': 'JOB'}]
    """
    header, *rows = map(str.split, listing.lstrip("#").splitlines() or [""])
    return [
        dict(zip(header, row, strict=True)) for row in rows if len(row) == len(header)
    ]


def charged_per(resource: str, run: Runner) -> str:
    """Return what a resource is charged for; "" if it is not known as consumable."""
    for each in complexes(output_of(["qconf", "-sc"], run) or ""):
        if resource in (each["name"], each["shortcut"]):
            return CHARGED_PER.get(each["consumable"], "")
    return ""
