"""What is said between a node and its cluster, and nothing about how.

A node asks with `Hello`; the cluster answers with `Allocation`, `Wait`, `NotNeeded` or
`Rejected`. A node that ends sends an `ExitReport`. Another process of the same user
sends a `ControlRequest` and gets a `ControlReply`. All are frozen, and each validates
its own fields: any process that reaches the port may have sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

#: Topic of Dask's events under which a node's Nanny says that its worker process has
#: died and that it starts another. Not said at the door: a forked node holds no socket.
WORKER_EXIT = "gridengine-worker-exit"


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise ValueError(complaint)


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Node to cluster: I run here and was granted this; what am I?"""

    kind: ClassVar[str] = "hello"

    job: str  # the grid's id of it; "" where a node cannot tell: then the mark counts
    index: int  # place in the array, from 1
    submission_id: str  # of its submission; "" is unknown
    process_token: str  # random, one per process: tells a node from its own rerun
    host: str
    pid: int
    slots: int  # granted on this host
    slots_elsewhere: int  # granted on other hosts, where this node cannot use them
    parallel_environment: str  # that granted them; "" is none, or unknown
    memory: int  # bytes the grid's limits leave this node; 0 is no limit
    host_memory: int  # bytes
    host_cpus: int
    age: float  # seconds since the grid started it; hosts' clocks differ, so no time
    queue: str  # that the grid gave it, by name; "" is unknown
    notify: float  # seconds from a courtesy signal to the deed; 0 is unknown
    prologue: list[str]  # lines of the job's shell before Python that failed
    versions: dict[str, str]  # package to version, "" where it is missing
    via: str  # the cluster's address that answered
    tried: dict[str, str]  # address to what it answered

    def __post_init__(self) -> None:
        _require(self.index >= 1, f"index must be at least 1, got {self.index}")
        _require(self.slots >= 1, f"slots must be at least 1, got {self.slots}")
        _require(self.slots_elsewhere >= 0, f"{self.slots_elsewhere} slots elsewhere")
        _require(len(self.parallel_environment) <= 256, "too long a name")
        _require(len(self.prologue) <= 16, "too many lines")
        _require(all(len(line) <= 1000 for line in self.prologue), "too long a line")
        _require(self.memory >= 0, f"memory must not be negative, got {self.memory}")
        _require(0 <= self.age < 1e9, f"no node is {self.age} s old")
        _require(0 <= self.notify < 1e9, f"notify is {self.notify} s")
        _require(len(self.submission_id) <= 64, "a mark of more than 64 letters")
        _require(len(self.queue) <= 256, "a queue's name of more than 256 letters")
        _require(self.host_cpus >= 1, f"no host has {self.host_cpus} CPUs")
        _require(
            8 <= len(self.process_token) <= 64, "a process_token has 8 to 64 letters"
        )
        _require(len(self.versions) <= 32 and len(self.tried) <= 64, "too many entries")


@dataclass(frozen=True, kw_only=True)
class TLSIdentity:
    """What a worker shows the scheduler, as PEM text; never written to a file."""

    ca: str
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Cluster to node: be this worker, or these."""

    kind: ClassVar[str] = "allocation"

    process_token: str  # of the node it is meant for
    bootstrap_address: (
        str  # where a farewell goes; the address this node was answered at
    )
    name: str  # the node's name in the cluster's spec, e.g. "ge-7"
    processes: int  # workers it becomes, named "ge-7-0", ... where there are several
    scheduler: str  # contact address, e.g. "tls://10.0.0.5:8786"
    nthreads: int  # of each worker
    memory_limit: int  # bytes, of each worker; 0 means no limit
    death_timeout: float  # seconds a worker looks for its scheduler when it starts
    drain_timeout: float  # seconds a drain may move data before the node ends anyhow
    nanny: bool
    start_method: str  # how a Nanny starts its worker: "fork" or "spawn"
    working_directory: str  # of the user's Python; used where it exists
    import_path: list[str]  # what the client's sys.path has besides its installation
    local_directory: str  # scratch space; "" is the job's own TMPDIR
    environment: dict[str, str]
    config: dict[str, Any]  # Dask settings that differ from Dask's defaults
    options: dict[str, Any]  # further keywords of Nanny or Worker
    interface: str  # to listen on, or a network; "" is the one towards the scheduler
    port: str  # of the worker, one or a range, e.g. "9000:9100"; "" is any
    nanny_port: str  # of its Nanny, likewise
    tls: TLSIdentity | None

    def __post_init__(self) -> None:
        _require(self.processes >= 1, f"processes must be >= 1, got {self.processes}")
        _require(self.nthreads >= 1, f"nthreads must be >= 1, got {self.nthreads}")
        _require(self.memory_limit >= 0, f"memory_limit is {self.memory_limit}")
        _require(
            self.start_method in ("fork", "spawn"),
            f"start_method is 'fork' or 'spawn', not {self.start_method!r}",
        )


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Cluster to node: ask again in so many seconds."""

    kind: ClassVar[str] = "wait"

    process_token: str
    seconds: float
    reason: str

    def __post_init__(self) -> None:
        _require(0 <= self.seconds <= 3600, f"cannot wait {self.seconds} s")


@dataclass(frozen=True, kw_only=True)
class NotNeeded:
    """Cluster to node: nobody needs you any more; end with exit status 0."""

    kind: ClassVar[str] = "leave"

    process_token: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Cluster to node: you cannot work here, and this is why."""

    kind: ClassVar[str] = "refused"

    process_token: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ExitReport:
    """Node to cluster: I end, and this is why."""

    kind: ClassVar[str] = "exit_report"

    job: str
    index: int
    submission_id: str
    process_token: str
    host: str
    cause: str  # one of causes.Cause
    detail: str  # a sentence, or ""
    exit_status: int | None  # of the last worker process, where it is known
    signal: str | None  # that ended the last worker process, e.g. "SIGKILL"
    peak_memory: int  # bytes, of one worker process; 0 is unknown
    memory_limit: int  # bytes; 0 means no limit
    stderr: str  # the last lines of the node's log

    def __post_init__(self) -> None:
        _require(self.index >= 1, f"index must be at least 1, got {self.index}")
        _require(len(self.stderr) <= 16_384, "more than 16 kB of last words")


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """The user, from any process that can read the connection file, to the cluster."""

    kind: ClassVar[str] = "ask"

    process_token: str  # random, one for each question
    what: str  # see `dask_gridengine.cluster.control.ControlHandler`
    about: str  # a worker, node or job; "" is all
    via: str  # the cluster's address that answered

    def __post_init__(self) -> None:
        _require(
            8 <= len(self.process_token) <= 64, "a process_token has 8 to 64 letters"
        )
        _require(len(self.what) <= 64 and len(self.about) <= 256, "too long a question")


@dataclass(frozen=True, kw_only=True)
class ControlReply:
    """Cluster to its user: the answer to `ControlRequest`."""

    kind: ClassVar[str] = "told"

    process_token: str  # of the question
    body: dict[str, Any]
    error: str  # why there is no answer; "" if there is one


Answer = Allocation | Wait | NotNeeded | Rejected
Message = (
    Hello
    | Allocation
    | Wait
    | NotNeeded
    | Rejected
    | ExitReport
    | ControlRequest
    | ControlReply
)


def version_mismatch(ours: Mapping[str, str], theirs: Mapping[str, str]) -> str:
    """Say which versions differ between cluster and node; "" if none does.

    Python may differ in its micro version; dask, distributed and this package must
    be the same, because Dask's protocol promises nothing between versions.

    Examples
    --------
    >>> version_mismatch({"python": "3.11.7"}, {"python": "3.11.2"})
    ''
    >>> version_mismatch({"dask": "2026.8.0"}, {"dask": "2025.1.0"})
    'dask is 2026.8.0 at the cluster and 2025.1.0 at the node'
    """
    found = []
    for package, mine in ours.items():
        other = theirs.get(package, "")
        same = (
            mine.split(".")[:2] == other.split(".")[:2]
            if package == "python"
            else mine == other
        )
        if not same:
            found.append(
                f"{package} is {mine} at the cluster and {other or 'missing'}"
                " at the node"
            )
    return "; ".join(found)
