"""What every batch system with DRMAA 1.0 can do, and what each kind may add to it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from dask_gridengine.errors import OptionError, SubmitError
from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.grid_types import NodeId

if TYPE_CHECKING:
    from dask_gridengine.batch.commands import Runner
    from dask_gridengine.grid_types import (
        AccountingRecord,
        ArrayReport,
        EndNotice,
        Listed,
        MarkedJob,
        NodeRequest,
    )

#: Variables in the environment of every node: the id of its submission, its number
#: where the batch system does not number the nodes of an array, and the directory of
#: its cluster (see `write_directory`).
SUBMISSION, ORDINAL = "GRIDENGINE_SUBMISSION", "GRIDENGINE_ORDINAL"
DIRECTORY = "GRIDENGINE_DIRECTORY"


class CheckResult(NamedTuple):
    """What one check of the doctor found out about the batch system."""

    check: str  # name of the check, e.g. "partition"
    sentence: str
    advice: str = ""  # what to type or to do; "" if all is well
    fatal: bool = False  # whether no cluster can start


@dataclass(frozen=True, kw_only=True)
class ResourceRequest:
    """Resources of one node, from the options of the same names (slots: cores)."""

    queue: str | None = None
    project: str | None = None
    walltime: float | None = None  # seconds
    resource_spec: str | None = None
    parallel_environment: str | None = None
    slots: int = 1
    memory_resource: str | None = None
    memory: int | None = None  # bytes of the whole node
    memory_resource_per: str = "slot"  # or "job", or "host"
    extra_directives: Sequence[str] = ()


class BatchSystem:
    """A batch system of which only DRMAA 1.0 is known; the known kinds derive from it.

    Its nodes cannot read their job id, so each node is submitted as one job and gets a
    number. A method returns None if the batch system has no command for it.
    """

    name: ClassVar[str] = "plain"
    title: ClassVar[str] = "this grid"
    #: Options that do not become submit options.
    unsupported: ClassVar[tuple[str, ...]] = (
        "queue",
        "project",
        "resource_spec",
        "parallel_environment",
        "memory_resource",
        "walltime",
        "cores",
    )
    #: Whether nodes are submitted as arrays: only if a task can read its index.
    arrays: ClassVar[bool] = False
    #: Stands between job and index in DRMAA's id of a node; "" if a node is a job.
    id_separator: ClassVar[str] = ""
    #: Whether DRMAA's end notices and states are true; if not, `list_jobs` is used.
    reliable_notices: ClassVar[bool] = True
    #: Whether one call may delete all jobs of a DRMAA session.
    deletes_session: ClassVar[bool] = True
    #: Whether the SIGTERM that a node gets may mean that a person has deleted it, which
    #: only its end notice tells.
    deletes_by_sigterm: ClassVar[bool] = False
    #: Parts of the messages if the job to delete has ended already.
    gone_messages: ClassVar[tuple[str, ...]] = ()
    #: Parts of DRMAA's message if the master does not answer, whatever its error class.
    #: On an unknown grid any message may mean that, and the call is repeated.
    unreachable_messages: ClassVar[tuple[str, ...]] = ("",)
    #: Commands without which nodes cannot be looked after.
    needed_commands: ClassVar[tuple[str, ...]] = ()
    #: Name of a node's log without ".log", as its shell expands it.
    log_name: ClassVar[str] = f"${SUBMISSION}.${ORDINAL}"
    #: The command that lists jobs, how users delete them, and further advice.
    listing: ClassVar[str] = "the grid's own command for it"
    deletion: ClassVar[str] = "by a user or an administrator"
    delete_command: ClassVar[str] = "delete, with the grid's own command, the jobs"
    #: What to type if jobs stay in the list after their deletion.
    undeletable: ClassVar[str] = "ask the admins about them"
    #: What to type if no libdrmaa is found, and if no session can be opened.
    if_no_library: ClassVar[str] = "export DRMAA_LIBRARY_PATH=/path/to/its/libdrmaa.so"
    if_unavailable: ClassVar[str] = (
        "check that the grid answers on this host, and that this host may submit jobs"
    )
    #: The option that requests `memory` without `memory_resource`.
    memory_option: ClassVar[str] = ""
    #: What changes the request of a node without the options of this package.
    site_defaults: ClassVar[str] = "by this site's configuration"
    advice: ClassVar[Mapping[Cause, str]] = {}

    def with_advice(self, diagnosis: Diagnosis) -> Diagnosis:
        """Add the advice of this batch system to a diagnosis that has none."""
        if diagnosis.cause is Cause.DELETED and not diagnosis.detail:
            diagnosis = replace(diagnosis, detail=self.deletion)
        advice = diagnosis.advice or self.advice.get(diagnosis.cause, "")
        return replace(diagnosis, advice=advice)

    def unsupported_options(self, request: ResourceRequest) -> list[str]:
        """Names of options that are given and do not become submit options."""
        cores = request.slots if request.slots > 1 else None
        given = {**vars(request), "cores": cores}
        return [name for name in self.unsupported if given[name] is not None]

    def parse_job_id(self, job_id: str) -> NodeId:
        """Return the node that DRMAA calls by this id."""
        if not self.id_separator:
            return NodeId(job_id, 1)
        job, index, *_ = job_id.split(self.id_separator)  # also "16.1.1"
        return NodeId(job, int(index))

    def name_node(self, node: NodeId) -> NodeId:
        """Return an equal id that prints as the commands of this batch system do."""
        return node

    def format_job_id(self, node: NodeId) -> str:
        """Return DRMAA's id of a node."""
        if not self.id_separator:
            return node.job
        return f"{node.job}{self.id_separator}{node.index}"

    def submit_options(self, request: ResourceRequest) -> str:
        """Render a request as one line of submit options.

        Raises `OptionError` if options contradict each other, or if a value cannot be
        written in that line.
        """
        return " ".join(map(directive, request.extra_directives))

    def exclude_hosts(self, native: str, hosts: Collection[str]) -> str:
        """Add options to a line so that no node starts on these hosts."""
        return native

    def marker_options(self, environment: Mapping[str, str]) -> str:
        """Return the option by which jobs with this environment are found in a list."""
        return ""

    def script_directives(self, request: NodeRequest) -> list[str]:
        """Render the submission of a node as the first lines of a job script."""
        lines = [f"# {request.native}"] if request.native else []
        return lines + [f"export {k}={v}" for k, v in request.environment.items()]

    def requested_limit(self, native: str) -> float | None:
        """Return the walltime that a line of submit options requests, in seconds."""
        return None

    def wrap_command(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> tuple[tuple[str, ...], dict[str, str]]:
        """Encode a command so that DRMAA delivers it unchanged.

        The result has neither newlines nor quotes.
        """
        import base64
        import shlex

        script = base64.b64encode(f"exec {shlex.join(command)}".encode()).decode()
        wrapped = ("/bin/sh", "-c", f'eval "$(echo {script} | base64 -d)"')
        return wrapped, dict(environment)

    def submit_error(self, reason: str, count: int, native: str | None) -> SubmitError:
        """Make the error for an array that was rejected with this reason."""
        return SubmitError(reason, count, native)

    def rejection_advice(self, reason: str, native: str, run: Runner) -> str:
        """Return what to change in rejected options; "" if that is not known."""
        return ""

    def hosts(self, native: str, run: Runner) -> frozenset[str] | None:
        """Return the hosts where nodes with these submit options may run."""
        return None

    def queue_limit(self, queue: str, run: Runner) -> float | None:
        """Return the walltime limit of a queue in seconds; None also if it has none."""
        return None

    def array_running(self, run: Runner) -> int | None:
        """Return how many tasks of one array may run at the same time."""
        return None

    def report(self, job: str, native: str, run: Runner) -> ArrayReport | None:
        """Return the requests of an array, and why its nodes queue."""
        return None

    def suspended(self, run: Runner) -> frozenset[NodeId] | None:
        """Return the nodes of this user that the batch system has suspended."""
        return None

    def find_submission(self, name: str, submission_id: str, run: Runner) -> list[str]:
        """Return the ids of jobs of this name that belong to a submission.

        Raises `LookupError` if the batch system has no such command, and what `run`
        raises.
        """
        raise LookupError(f"{self.title} has no command for it")

    def marked_jobs(self, run: Runner) -> list[MarkedJob]:
        """Return the arrays of this user that belong to a cluster.

        Raises `LookupError` if the batch system has no such command, and what `run`
        raises.
        """
        raise LookupError("no command of this grid is known that lists its jobs")

    def delete_jobs(self, jobs: Collection[str], run: Runner) -> None:
        """Delete arrays, and ignore those that have ended; raise what `run` raises."""
        raise NotImplementedError(f"{self.title} does not list its jobs")

    def checks(self, native: str, queue: str, run: Runner) -> Iterator[CheckResult]:
        """Check the configuration for nodes with these submit options, for the doctor.

        Does nothing where no command is known: then only a trial cluster tells.
        """
        return iter(())

    def delete_tasks(self, job: str, first: int, last: int, run: Runner) -> bool:
        """Delete a range of an array; return False if no command can do it.

        Raises what `run` raises.
        """
        return False

    def account(self, node: NodeId, run: Runner) -> AccountingRecord | None:
        """Return the accounting record of a node that has ended."""
        return None

    def list_jobs(self, run: Runner) -> Mapping[NodeId, EndNotice | Listed]:
        """Return all nodes of this user; those that have ended with a notice.

        Raises what `run` raises.
        """
        raise NotImplementedError(f"{self.title} has reliable end notices")


def write_directory(directory: Path) -> str:
    """Encode a path as the value of `DIRECTORY`.

    The value has no blank, quote, comma or newline, so that every batch system delivers
    it and its listing shows it unchanged.

    Examples
    --------
    >>> write_directory(Path("/home/ann/it's, mine"))
    '/home/ann/it%27s%2C%20mine'
    >>> read_directory("/home/ann/it%27s%2C%20mine")
    PosixPath("/home/ann/it's, mine")
    """
    from urllib.parse import quote_from_bytes  # not needed by nodes

    return quote_from_bytes(os.fsencode(directory), safe="/")


def read_directory(value: str) -> Path:
    """Decode the value of `DIRECTORY`."""
    from urllib.parse import unquote_to_bytes

    return Path(os.fsdecode(unquote_to_bytes(value)))


def directive(text: str) -> str:
    """Return one item of ``job_extra_directives``.

    Raises `OptionError` if it is not an option, or cannot be delivered unchanged.
    """
    option = text.strip()
    if not option.startswith("-") or re.search(r"[\n\r\"'`\\]", option):
        raise OptionError(
            f"job_extra_directives: {text!r} is not one submit option in one line"
            " without quotes",
            hint="write it as on the command line, e.g. '-R y'",
        )
    return option


def option_value(name: str, value: str, *, comma: bool = True) -> str:
    """Return a value for a line that is split at blanks and has no quoting.

    Raises `OptionError` if the value would be cut, or read as another option.
    """
    found = re.search(r"[\s\"'\\`]" if comma else r"[\s\"'\\`,]", value)
    if found:
        raise OptionError(
            f"{name}={value!r} contains {found.group()!r}, which cannot be quoted in"
            " submit options"
        )
    if value.startswith("-"):
        raise OptionError(
            f"{name}={value!r} would be read as an option, because it begins with '-'",
            hint="put your own submit options into job_extra_directives",
        )
    return value


def parse_time(text: str) -> float | None:
    """Parse a time as batch systems print it; return None if it is not a number.

    Examples
    --------
    >>> parse_time("90"), parse_time("1:0:0"), parse_time("1-00:30:00")
    (90.0, 3600.0, 88200.0)
    >>> parse_time("INFINITY") is None
    True
    """
    days, _, clock = text.rpartition("-")
    # Grid Engine may leave out zeros: "1::" is one hour (man 1 sge_types).
    if not re.fullmatch(r"[\d:]*\d[\d:]*", clock) or not (days or "0").isdigit():
        return None
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part or 0)
    return float(86400 * int(days or 0) + seconds)
