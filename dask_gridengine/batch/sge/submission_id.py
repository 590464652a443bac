"""Finding jobs whose submission got no answer.

Measured on Son of Grid Engine 8.1.9: when the master hangs, a submission fails after
two minutes, and is queued all the same when the master goes on. DRMAA does not know
the id then. But each submission carries a mark in its environment, which qstat shows.
"""

from __future__ import annotations

import re
import subprocess

from dask_gridengine.batch.base import Runner


def find_marked(name: str, submission_id: str, run: Runner) -> list[str]:
    """Ids of the jobs of that name with that mark in their environment.

    Raises
    ------
    OSError, subprocess.SubprocessError
        If there is no qstat, or the master does not answer it.
    """
    try:
        return marked_jobs(run(["qstat", "-j", name]), submission_id)
    except subprocess.CalledProcessError as exc:
        if "do not exist" in (exc.stderr or ""):
            return []  # an error for qstat, and good news for us
        raise


def marked_jobs(listing: str, submission_id: str) -> list[str]:
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
        if number and submission_id in job
    ]
