"""Limits as Grid Engine writes them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.submit_options import hard_requests
from dask_gridengine.walltime_parsing import parse_walltime

LIMITS = ("h_rt", "s_rt")


def requested_limit(native: str) -> float | None:
    """The shorter of ``h_rt`` and ``s_rt`` in submit options; None if neither is.

    At ``s_rt`` the grid sends SIGUSR1, at ``h_rt`` SIGKILL (``man 5 queue_conf``); a
    node is gone before the first of them.

    Examples
    --------
    >>> requested_limit("-q long.q -l h_rt=3600,gpu=1 -l s_rt=0:50:00")
    3000.0
    >>> requested_limit("-soft -l h_rt=60") is None
    True
    """
    resources = [
        resource.partition("=")
        for _, value in hard_requests(native, ("-l",))
        for resource in value.split(",")
    ]
    return shortest(value for name, _, value in resources if name in LIMITS)


def shortest(values: Iterable[str]) -> float | None:
    """The shortest of these times as Grid Engine writes them; None if all are endless.

    Examples
    --------
    >>> shortest(["INFINITY", "24:00:00", "90"])
    90.0
    """
    found = []
    for value in values:
        try:
            seconds = parse_walltime(value)
        except ValueError:
            continue  # INFINITY, NONE
        if seconds:
            found.append(float(seconds))
    return min(found, default=None)


def array_running(run: Runner) -> int | None:
    """How many tasks of one array the cell runs at once; None if any number.

    ``max_aj_instances``, 2000 where nobody has changed it (``man 5 sge_conf``). Those
    beyond it queue, whatever room there is, and nothing says why.

    Parameters
    ----------
    run
        Runs ``qconf -sconf``, which any host of the cell may ask.
    """
    try:
        shown = run(["qconf", "-sconf"])
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"^max_aj_instances\s+(\d+)\s*$", shown, re.MULTILINE)
    return int(found[1]) or None if found else None
