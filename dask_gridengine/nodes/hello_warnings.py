"""Warnings for the user that follow from a hello, although the node works. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dask_gridengine.bootstrap.messages import Hello
from dask_gridengine.nodes.prologue import hinted


class HelloWarning(NamedTuple):
    """A warning, and a key that is equal for the same warning of other nodes."""

    key: str
    text: str


def warnings_of(hello: Hello) -> Iterator[HelloWarning]:
    """Yield the warnings of a hello."""
    for failure in hello.prologue:
        line = failure.partition(" (")[0]
        yield HelloWarning(
            line,
            f"a line of job_script_prologue failed on {hello.host}: {hinted(failure)}."
            " Nodes go on without it; end the line with '|| exit 1' to stop them",
        )
    if hello.slots_elsewhere:
        name = hello.parallel_environment
        slots = hello.slots + hello.slots_elsewhere
        yield HelloWarning(
            f"parallel environment {name}",
            f"the parallel environment {name!r} has spread the {slots} slots of a node"
            " over several hosts; a worker uses only those of its own host, here"
            f" {hello.slots} on {hello.host}. Use one with allocation_rule $pe_slots",
        )
