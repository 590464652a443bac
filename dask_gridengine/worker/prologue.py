"""Failures of the lines before Python (``job_script_prologue``), read from the log.

The job's shell writes there which line it runs (`dask_gridengine.nodes.job_request`),
and how a line failed. The node reads that, and its hello reports it to the cluster.
"""

from __future__ import annotations

import os
import sys

#: What the shell writes before a line, after one that failed, and after its own end.
BEGINS, FAILED, ENDED = "prologue: ", "prologue failed, ", "prologue ended the job, "
#: Set by the shell if a line has failed.
VARIABLE = "GRIDENGINE_PROLOGUE"

MOST_READ = 64 * 1024  # bytes of the log
MOST_LINES = 3  # of the output of a failed line
MOST_FAILURES = 5
MOST_LETTERS = 400  # of each


def failures() -> list[str]:
    """Return what failed before this process became Python."""
    if not os.environ.pop(VARIABLE, ""):
        return []
    # The end of the log: a line may have printed much before it failed.
    return failures_in(log_tail(MOST_READ)) or ["a line failed"]


def log_tail(most: int) -> str:
    """Return the last bytes of this node's log; "" if its stderr is not a file."""
    try:
        sys.stderr.flush()
        with open("/proc/self/fd/2", "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - most))
            return log.read(most).decode(errors="replace")
    except OSError:
        return ""


def failures_in(log: str) -> list[str]:
    """Return the failed lines in a log, each with its output."""
    found: list[str] = []
    output: list[str] = []
    for line in log.splitlines():
        marker = next((m for m in (FAILED, ENDED) if line.startswith(m)), "")
        if line.startswith(BEGINS):
            output = []
        elif marker:
            printed = f" ({'; '.join(output[-MOST_LINES:])})" if output else ""
            found.append((line.removeprefix(marker) + printed)[:MOST_LETTERS])
        elif line.strip():
            output.append(line.strip())
    return found[:MOST_FAILURES]
