"""What differs between kinds of grids, and what is assumed of one that nobody knows.

A dialect is pure but for the commands it has run by a `Runner`, and light: a node needs
its own before it says hello. What it does not know it says so: None, never a guess.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dask_gridengine.errors import ArrayTooLarge, OptionError, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId

if TYPE_CHECKING:
    from dask_gridengine.grid_types import AccountingRecord, ArrayReport, EndNotice

#: Runs one of the grid's commands and returns what it prints; raises `OSError` or
#: `subprocess.SubprocessError` if it fails.
Runner = Callable[[Sequence[str]], str]

#: Variables of our own, in the environment of every node: which submission it belongs
#: to, and where nodes cannot tell which of an array they are, which of those it is.
SUBMISSION, ORDINAL = "GRIDENGINE_SUBMISSION", "GRIDENGINE_ORDINAL"
#: And the cluster's directory, see `write_directory`.
DIRECTORY = "GRIDENGINE_DIRECTORY"

_UNSAFE = re.compile(r"[\s\"'\\`]")


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """What one node asks of the grid, as options have it; see ``gridengine.yaml``."""

    queue: str | None = None
    project: str | None = None
    walltime: float | None = None  # seconds
    resource_spec: str | None = None
    parallel_environment: str | None = None
    slots: int = 1
    memory_resource: str | None = None
    memory: int | None = None  # bytes of the whole node
    memory_resource_per: str = "slot"
    array_concurrency: int | None = None
    extra_directives: Sequence[str] = ()


class BatchSystem:
    """A grid of unknown kind, which DRMAA 1.0 alone describes; others derive from it.

    Its nodes do not know what the grid calls them, so each is submitted by itself and
    carries a number of ours.
    """

    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "this grid"
    #: Whether a node of an array can tell which one it is.
    arrays: ClassVar[bool] = False
    #: Whether DRMAA's end notices and states are true. Else `listed` is asked.
    notices: ClassVar[bool] = True
    #: Whether all jobs of a session may be deleted in one call.
    deletes_all: ClassVar[bool] = True
    #: What DRMAA says of a deletion that comes too late.
    gone: ClassVar[tuple[str, ...]] = ()
    #: The name of a node's log, without ".log", for its shell.
    log_name: ClassVar[str] = f"${SUBMISSION}.${ORDINAL}"
    #: How people look for jobs, how they delete them, and what else to type.
    listing: ClassVar[str] = "the grid's own command for it"
    deletion: ClassVar[str] = "by somebody"
    advice: ClassVar[Mapping[Cause, str]] = {}

    def with_advice(self, told: Diagnosis) -> Diagnosis:
        """A diagnosis with this grid's words, where it has none of its own."""
        if told.cause is Cause.DELETED and not told.detail:
            told = replace(told, detail=self.deletion)
        return replace(told, advice=told.advice or self.advice.get(told.cause, ""))

    # What a node finds

    def identity(self, environ: Mapping[str, str]) -> tuple[str, int]:
        """The job and the index of a node by its environment; the job may be "".

        Raises
        ------
        KeyError
            If a variable is missing: this process is no node.
        """
        return "", int(environ[ORDINAL])

    def slots(self, environ: Mapping[str, str]) -> int | None:
        """Slots a node was granted here; None if the environment does not say."""
        return None

    def slots_elsewhere(self, environ: Mapping[str, str]) -> int:
        """Slots it was granted on other hosts."""
        return 0

    def parallel_environment(self, environ: Mapping[str, str]) -> str:
        """What granted them; "" if it has no name."""
        return ""

    def memory(self, environ: Mapping[str, str]) -> int:
        """Bytes a node was granted by the environment; 0 if it does not say."""
        return 0

    def queue(self, environ: Mapping[str, str]) -> str:
        """The queue a node runs in; "" if the environment does not say."""
        return ""

    def notify(self, environ: Mapping[str, str]) -> float:
        """Seconds from a courtesy signal to the deed; 0 if it is not known."""
        return 0.0

    # What is asked of the grid

    def parse(self, job_id: str) -> NodeId:
        """A node by DRMAA's id of it."""
        return NodeId(job_id, 1)

    def form(self, node: NodeId) -> str:
        """DRMAA's id of a node."""
        return node.job

    def native(self, resource_request: ResourceRequest) -> str:
        """Submit options as one line.

        Raises
        ------
        OptionError
            If the options do not go together, or one would become something else.
        """
        return " ".join(directive(text) for text in resource_request.extra_directives)

    def unsupported_options(self, resource_request: ResourceRequest) -> list[str]:
        """Names of options that are given and that this grid cannot be told."""
        given = {
            "queue": resource_request.queue,
            "project": resource_request.project,
            "resource_spec": resource_request.resource_spec,
            "parallel_environment": resource_request.parallel_environment,
            "memory_resource": resource_request.memory_resource,
            "array_concurrency": resource_request.array_concurrency,
            "walltime": resource_request.walltime,
            "cores": resource_request.slots if resource_request.slots > 1 else None,
        }
        return [name for name, value in given.items() if value is not None]

    def excluding(self, native: str, hosts: Collection[str]) -> str:
        """Submit options with these hosts excluded, as far as that can be said."""
        return native

    def tag(self, submission_id: str) -> str:
        """Submit options by which a submission without answer can be found again."""
        return ""

    def requested_limit(self, native: str) -> float | None:
        """Seconds after which submit options themselves let a job be ended."""
        return None

    def warns(self, native: str) -> bool:
        """Whether these submit options ask for a signal before a deed."""
        return False

    def wrap_command(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Put a command so that it arrives whole: in one line and without quotes."""
        script = base64.b64encode(f"exec {shlex.join(command)}".encode()).decode()
        wrapped = ("/bin/sh", "-c", f'eval "$(echo {script} | base64 -d)"')
        return wrapped, dict(environment)

    def refusal(self, reason: str, count: int, native: str | None) -> SubmitError:
        """The error for an array that was refused with these words."""
        check = "" if native is None else self.check(count, native)
        if 0 < (limit := self.largest_array(reason, count)) < count:
            return ArrayTooLarge(reason, count, native, check, limit)
        return SubmitError(reason, count, native, check)

    def check(self, count: int, native: str) -> str:
        """What to type to have the grid say what is wrong with an array; or ""."""
        return ""

    def largest_array(self, reason: str, count: int) -> int:
        """How many nodes an array may have, if a refusal speaks of that; else 0."""
        return 0

    # What the grid's own commands tell

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """The hosts where these submit options could run; None if nobody can tell."""
        return None

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """Seconds after which a queue ends its jobs; None if no end is known."""
        return None

    def array_running(self, run: Runner) -> int | None:
        """How many nodes of one array may run at once; None if nothing limits it."""
        return None

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """What the grid says of an array with these submit options; None if nothing."""
        return None

    def suspended(self, run: Runner) -> frozenset[NodeId] | None:
        """This user's nodes that the grid has suspended; None if that is unknown."""
        return None

    def find_marked(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """Ids of the jobs of that name with that mark.

        Raises
        ------
        LookupError
            If there is no way to find them.
        OSError, subprocess.SubprocessError
            If the grid could not be asked.
        """
        raise LookupError(f"nobody can ask {self.title} for it")

    def delete_neighbours(self, job: str, first: int, last: int, run: Runner) -> bool:
        """Delete these nodes of an array in one call; False if there is none for it.

        Raises
        ------
        OSError, subprocess.SubprocessError
            If the grid could not be told.
        """
        return False

    def account(self, node: NodeId, run: Runner) -> AccountingRecord | None:
        """What the accounting says of a node that has ended; None if nothing."""
        return None

    def listed(self, run: Runner) -> Mapping[NodeId, EndNotice | None]:
        """All of this user's nodes that the grid knows; None for those that live.

        Raises
        ------
        OSError, subprocess.SubprocessError
            If the grid could not be asked.
        """
        raise NotImplementedError(f"{self.title} has notices")


def write_directory(directory: Path) -> str:
    """A path as the value of `DIRECTORY`.

    No blank, quote, comma or newline is left in it, so that every grid delivers it
    whole, and its listing shows it whole.

    Examples
    --------
    >>> write_directory(Path("/home/ann/it's, mine"))
    '/home/ann/it%27s%2C%20mine'
    >>> read_directory("/home/ann/it%27s%2C%20mine")
    PosixPath("/home/ann/it's, mine")
    """
    from urllib.parse import quote_from_bytes  # a node needs it not

    return quote_from_bytes(os.fsencode(directory), safe="/")


def read_directory(value: str) -> Path:
    """The path of a value of `DIRECTORY`."""
    from urllib.parse import unquote_to_bytes

    return Path(os.fsdecode(unquote_to_bytes(value)))


def directive(text: str) -> str:
    """One submit option of the user's own.

    Raises
    ------
    OptionError
        If it is none, or would fall apart on its way.
    """
    said = text.strip()
    if not said.startswith("-") or re.search(r"[\n\r\"'`\\]", said):
        raise OptionError(
            f"job_extra_directives: {text!r} must be one submit option, e.g. '-R y', in"
            " one line and without quotes"
        )
    return said


def word(name: str, value: str) -> str:
    """A value for a line that is split at blanks.

    Raises
    ------
    OptionError
        If it would end early, or become an option of its own.
    """
    if found := _UNSAFE.search(value):
        raise OptionError(f"{name}={value!r} holds {found.group()!r}; leave it out")
    if value.startswith("-"):
        raise OptionError(
            f"{name}={value!r} begins with '-', as an option does; options of your own"
            " go into job_extra_directives"
        )
    return value


def whole_minutes(seconds: float) -> int:
    """Minutes that are enough for so many seconds."""
    return int(-(-seconds // 60))


def megabytes(size: int) -> int:
    """Whole MiB that are enough for so many bytes."""
    return -(-size // 2**20)
