"""What the lines before Python (``job_script_prologue``) have done, from the log.

The job's shell writes there which line it runs (`dask_gridengine.nodes.job_request`),
and how each ended that failed. The node reads that, and its hello tells the cluster.
"""

from __future__ import annotations

import os

#: What the shell writes before a line, after one that failed, and after its own end.
BEGINS, FAILED, ENDED = "prologue: ", "prologue failed, ", "prologue ended the job, "
#: Set by the shell if a line has failed.
VARIABLE = "GRIDENGINE_PROLOGUE"

MOST_READ = 64 * 1024  # bytes of the log
MOST_LINES = 3  # of what a failed line has printed
MOST_FAILURES = 5
MOST_LETTERS = 400  # of each


def failures() -> list[str]:
    """What failed before this process became Python; empty if nothing did."""
    if not os.environ.pop(VARIABLE, ""):
        return []
    try:
        with open("/proc/self/fd/2", "rb") as log:
            # Its end: a line may have printed much before it failed.
            log.seek(max(0, os.fstat(log.fileno()).st_size - MOST_READ))
            said = log.read().decode(errors="replace")
    except OSError:  # the log is no file
        said = ""
    return failures_in(said) or ["a line failed"]


def failures_in(log: str) -> list[str]:
    r"""The failed lines that a log tells of, each with what it printed.

    Examples
    --------
    >>> failures_in("prologue: x\nsh: x: not found\nprologue failed, status 127: x\n")
    ['status 127: x (sh: x: not found)']
    """
    found: list[str] = []
    printed: list[str] = []
    for line in log.splitlines():
        if line.startswith(BEGINS):
            printed = []
            continue
        marker = next((m for m in (FAILED, ENDED) if line.startswith(m)), "")
        if marker:
            said = "; ".join(printed[-MOST_LINES:])
            what = line.removeprefix(marker) + (f" ({said})" if said else "")
            found.append(what[:MOST_LETTERS])
        elif line.strip():
            printed.append(line.strip())
    return found[:MOST_FAILURES]
