"""Finding jobs whose submission got no answer.

Measured on Son of Grid Engine 8.1.9: when the master hangs, a submission fails after
two minutes, and is queued all the same when the master goes on. DRMAA does not know
the id then. But each submission carries a mark in its environment, which qstat shows.
"""

from __future__ import annotations

import re
import subprocess

from dask_gridengine.launchers.drmaa_library import Failed, Unreachable

QSTAT_TIMEOUT = 60.0  # seconds


def find_marked(name: str, mark: str) -> list[str]:
    """Ids of the jobs of that name with that mark in their environment.

    Raises
    ------
    Unreachable
        If the master does not answer.
    Failed
        If there is no qstat to ask it with.
    """
    try:
        ran = subprocess.run(
            ["qstat", "-j", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=QSTAT_TIMEOUT,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as exc:
        raise Unreachable(f"qstat said nothing for {QSTAT_TIMEOUT:g} s") from exc
    except OSError as exc:
        raise Failed(f"cannot look for lost submissions: {exc}") from exc
    if ran.returncode and "do not exist" not in ran.stderr:
        raise Unreachable(ran.stderr.strip() or f"qstat ended with {ran.returncode}")
    return marked_jobs(ran.stdout, mark)


def marked_jobs(listing: str, mark: str) -> list[str]:
    """Ids of the jobs in what ``qstat -j`` prints whose part holds the mark.

    Examples
    --------
    >>> listing = "====\\njob_number: 7\\nenv_list: A=1\\n====\\njob_number: 8\\n"
    >>> marked_jobs(listing, "A=1")
    ['7']
    """
    jobs = re.split(r"^=+$", listing, flags=re.MULTILINE)
    numbers = (re.search(r"^job_number:\s*(\d+)$", job, re.MULTILINE) for job in jobs)
    return [
        number[1]
        for job, number in zip(jobs, numbers, strict=True)
        if number and mark in job
    ]
