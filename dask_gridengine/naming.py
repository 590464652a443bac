"""Names of nodes and of their workers. Pure.

The name of a node, ``ge-7``, is its key in Dask's ``worker_spec``. With one process it
is its worker's name, too; with several the workers are ``ge-7-0``, ``ge-7-1``, ... A
pool's name replaces ``ge``: ``big-7``, ``big-7-0``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PREFIX = "ge"  # of nodes without a named pool
#: Without a hyphen: ``big-7`` must never be a pool.
POOL = r"[A-Za-z][A-Za-z0-9_]{0,31}"
_WORKER = re.compile(rf"({POOL}-\d+)-\d+", re.ASCII)


def node_name(number: int, prefix: str = PREFIX) -> str:
    """Make a node's name; numbers start at 0."""
    return f"{prefix}-{number}"


def suffixes(processes: int) -> list[str]:
    """List the suffixes of the workers' names."""
    return [f"-{i}" for i in range(processes)] if processes > 1 else [""]


def node_of(worker: Any) -> Any:
    """Return the node's name for a worker's name; other names stay as they are.

    Examples
    --------
    >>> node_of("ge-7-1"), node_of("big-7"), node_of(7)
    ('ge-7', 'big-7', 7)
    """
    found = _WORKER.fullmatch(worker) if isinstance(worker, str) else None
    return found[1] if found else worker


def nodes_of(workers: Iterable[Any]) -> list[Any]:
    """List the nodes' names of workers, each once, in order."""
    return list(dict.fromkeys(map(node_of, workers)))


def prefix_of(name: Any) -> str:
    """Return the prefix of a node's or worker's name; "" for other names."""
    if not isinstance(name, str):
        return ""
    prefix, _, number = node_of(name).rpartition("-")
    return prefix if number.isdigit() else ""
