"""What a queue limits all its jobs to, by ``qconf``, which DRMAA has nothing like."""

from __future__ import annotations

import subprocess

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.queue_limits import LIMITS, shortest


def queue_limit(queue: str, run: Runner) -> float | None:
    """Seconds after which a queue ends its jobs; None if it does not, or nobody knows.

    Where it has other values for some hosts (``[node7=1:0:0]``) the shortest counts: to
    leave early costs less than to be killed.

    Parameters
    ----------
    queue
        Its name, as in a job's ``QUEUE``.
    run
        Runs one of Grid Engine's commands.
    """
    try:
        shown = run(["qconf", "-sq", queue])
    except (OSError, subprocess.SubprocessError):
        return None
    return shortest(limits_in(shown))


def limits_in(shown: str) -> list[str]:
    """All values of the limits, for all hosts.

    Examples
    --------
    >>> limits_in("qname a.q\\ns_rt INFINITY\\nh_rt 24:00:00,[node7=1:0:0],[@x=60]")
    ['INFINITY', '24:00:00', '1:0:0', '60']
    """
    found = []
    for line in shown.replace("\\\n", " ").splitlines():
        name, _, values = line.partition(" ")
        if name in LIMITS:
            parts = values.replace("[", "").replace("]", "").replace(" ", "").split(",")
            found += [part.rpartition("=")[2] for part in parts if part]
    return found
