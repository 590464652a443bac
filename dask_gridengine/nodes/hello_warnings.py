"""What a node's hello tells that people should know, though the node works. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from dask_gridengine.bootstrap.messages import Hello
from dask_gridengine.nodes.prologue import hinted


class HelloWarning(NamedTuple):
    """A text, and what it has in common with those of other nodes."""

    once: str
    text: str


def remarks(hello: Hello) -> Iterator[HelloWarning]:
    """What is worth a warning, which is the same for all nodes alike."""
    for failure in hello.prologue:
        line = failure.partition(" (")[0]
        yield HelloWarning(
            line,
            f"a line of job_script_prologue failed on {hello.host}, with"
            f" {hinted(failure)}. Its nodes go on without it; end a line with"
            " '|| exit 1' if nodes shall not start without it",
        )
    if hello.slots_elsewhere:
        name = hello.parallel_environment
        slots = hello.slots + hello.slots_elsewhere
        yield HelloWarning(
            f"parallel environment {name}",
            f"the parallel environment {name!r} has spread the {slots} slots of a node"
            f" over several hosts; a worker uses only those of its own host, here"
            f" {hello.slots} on {hello.host}. Use one that keeps them on one host, or"
            " ask the admins for it: allocation_rule $pe_slots",
        )
