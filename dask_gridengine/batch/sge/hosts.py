"""Where submit options could run, by ``qselect``, which DRMAA has nothing like."""

from __future__ import annotations

import subprocess

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.submit_options import hard_requests


def possible_hosts(native: str, run: Runner) -> frozenset[str] | None:
    """The hosts where these submit options could run, as the cell is configured.

    Load, free slots and the states of queues are not looked at.

    Parameters
    ----------
    native
        Submit options as one line. Only ``-q``, ``-l`` and ``-pe`` say where; soft
        requests do not.

    Returns
    -------
    :
        None if the grid does not tell, or knows of none.
    """
    try:
        listed = run(["qselect", *_options(native)])
    except (OSError, subprocess.SubprocessError):
        return None  # also when it finds none: then its exit status is 1
    instances = (line.strip().partition("@") for line in listed.splitlines())
    return frozenset(host for _, at, host in instances if at and host) or None


def _options(native: str) -> list[str]:
    """What qselect takes of these options: of ``-pe`` the name alone.

    Examples
    --------
    >>> _options("-q a.q -l h_rt=60 -pe smp 4 -R y -l gpu=1 -soft -l fast")
    ['-q', 'a.q', '-l', 'h_rt=60', '-pe', 'smp', '-l', 'gpu=1']
    """
    requests = hard_requests(native, ("-q", "-l", "-pe"))
    return [word for request in requests for word in request]
