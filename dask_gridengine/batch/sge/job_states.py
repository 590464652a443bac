"""Nodes by the letters of their state, as ``qstat -xml`` lists them."""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from dask_gridengine.batch.base import Runner
from dask_gridengine.grid_types import NodeId


def suspended(run: Runner) -> frozenset[NodeId] | None:
    """This user's nodes that are suspended: by qmod -sj, a queue, or a threshold.

    Returns
    -------
    :
        None if there is no qstat, or it fails.
    """
    try:
        listing = run(["qstat", "-u", user_name(), "-s", "s", "-xml"])
        return frozenset(node for node, _ in states_in(listing))
    except (OSError, subprocess.SubprocessError, ElementTree.ParseError):
        return None


def user_name() -> str:
    """The user of this process; the environment may have another name."""
    return pwd.getpwuid(os.getuid()).pw_name


def states_in(listing: str) -> Iterator[tuple[NodeId, str]]:
    """Each node with the letters of its state (``man 1 qstat``).

    Examples
    --------
    >>> row = "<r><job_list><JB_job_number>7</JB_job_number><state>hqw</state>"
    >>> [(str(node), state) for node, state in states_in(
    ...     row + "<tasks>2-4:2,9</tasks></job_list></r>")]
    [('7.2', 'hqw'), ('7.4', 'hqw'), ('7.9', 'hqw')]
    """
    for row in ElementTree.fromstring(listing).iter("job_list"):
        job, state = row.findtext("JB_job_number"), row.findtext("state")
        for part in (row.findtext("tasks") or "").split(","):
            match = re.fullmatch(r"\s*(\d+)(?:-(\d+)(?::(\d+))?)?\s*", part)
            if job and state and match:
                first, last, step = match.groups()
                indices = range(int(first), int(last or first) + 1, int(step or 1))
                for index in indices:
                    yield NodeId(job.strip(), index), state.strip()
