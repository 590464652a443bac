"""Where submit options could run, by ``qselect``, which DRMAA has nothing like."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence

from dask_gridengine.launchers.native import hard_requests

TIMEOUT = 10.0  # seconds

#: Runs one of Grid Engine's commands and returns what it prints; raises `OSError` or
#: `subprocess.SubprocessError` if it fails.
Runner = Callable[[Sequence[str]], str]


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


def run_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """A `Runner`, given an environment.

    Raises
    ------
    OSError
        If there is no such command.
    subprocess.SubprocessError
        If it fails, or says nothing for 10 s.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
        text=True,
        errors="replace",
        env={**environment, "LC_ALL": "C"},  # it may speak the user's language
    ).stdout


def _options(native: str) -> list[str]:
    """What qselect takes of these options: of ``-pe`` the name alone.

    Examples
    --------
    >>> _options("-q a.q -l h_rt=60 -pe smp 4 -R y -l gpu=1 -soft -l fast")
    ['-q', 'a.q', '-l', 'h_rt=60', '-pe', 'smp', '-l', 'gpu=1']
    """
    requests = hard_requests(native, ("-q", "-l", "-pe"))
    return [word for request in requests for word in request]
