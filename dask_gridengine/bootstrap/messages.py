"""The messages of the bootstrap channel; `codec` turns them into bytes.

A node asks with `Hello`; the cluster answers with `Allocation`, `Wait`, `NotNeeded` or
`Rejected`. A node that ends sends an `ExitReport`. Another process of the same user
sends a `ControlRequest` and gets a `ControlReply`. Each validates its own fields: any
process that reaches the port may have sent it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

#: Topic of Dask's events with which a node's Nanny reports that its worker process has
#: died and that it starts another. No bootstrap message: a forked node holds no socket.
WORKER_EXIT = "gridengine-worker-exit"


def _require(condition: bool, complaint: str) -> None:
    if not condition:
        raise ValueError(complaint)


def _require_token(token: str) -> None:
    _require(8 <= len(token) <= 64, "process_token must have 8 to 64 letters")


@dataclass(frozen=True, kw_only=True)
class Hello:
    """Node to cluster: requests an allocation, and reports where it runs."""

    kind: ClassVar[str] = "hello"

    job: str  # the grid's job id; "" where a node cannot know it (see submission_id)
    index: int  # place in the array, from 1
    submission_id: str  # "" is unknown
    process_token: str  # random, one per process: tells a node from its own rerun
    host: str
    pid: int
    slots: int = 1  # granted on this host
    slots_elsewhere: int = 0  # granted on other hosts, where this node cannot use them
    parallel_environment: str = ""  # that granted the slots; "" is none, or unknown
    memory: int = 0  # bytes the grid's limits leave this node; 0 is no limit
    host_memory: int  # bytes
    host_cpus: int
    age: float  # seconds since the grid started it; a time would need equal clocks
    queue: str = ""  # the queue it runs in; "" is unknown
    notify: float = 0.0  # seconds from a warning signal to the kill; 0 is unknown
    #: Lines of the job's shell before Python that failed.
    prologue: list[str] = field(default_factory=list)
    versions: dict[str, str]  # package to version, "" where it is missing
    via: str = ""  # the cluster's address that answered
    #: Address to what happened there.
    tried: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require(self.index >= 1, f"index must be at least 1, got {self.index}")
        _require(self.slots >= 1, f"slots must be at least 1, got {self.slots}")
        _require(self.slots_elsewhere >= 0, "slots_elsewhere must not be negative")
        _require(len(self.parallel_environment) <= 256, "parallel_environment too long")
        _require(len(self.prologue) <= 16, "prologue has too many lines")
        _require(all(len(line) <= 1000 for line in self.prologue), "line too long")
        _require(self.memory >= 0, f"memory must not be negative, got {self.memory}")
        _require(0 <= self.age < 1e9, f"age is {self.age} s")
        _require(0 <= self.notify < 1e9, f"notify is {self.notify} s")
        _require(len(self.submission_id) <= 64, "submission_id too long")
        _require(len(self.queue) <= 256, "queue name too long")
        _require(self.host_cpus >= 1, f"host_cpus is {self.host_cpus}")
        _require_token(self.process_token)
        _require(len(self.versions) <= 32 and len(self.tried) <= 64, "too many entries")


@dataclass(frozen=True, kw_only=True)
class TLSIdentity:
    """The certificates of one Dask role as PEM text; never written to a file."""

    ca: str
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """Cluster to node: become these workers."""

    kind: ClassVar[str] = "allocation"

    process_token: str  # of the node it is for
    bootstrap_address: str  # for the exit report; where this node got its answer
    name: str  # the node's name in the cluster's spec, e.g. "ge-7"
    processes: int  # workers it becomes, named "ge-7-0", ... where there are several
    scheduler: str  # contact address, e.g. "tls://10.0.0.5:8786"
    nthreads: int  # of each worker
    memory_limit: int  # bytes, of each worker; 0 means no limit
    death_timeout: float  # seconds a worker looks for its scheduler when it starts
    drain_timeout: float  # seconds a drain may move data before the node ends
    nanny: bool
    start_method: str  # how a Nanny starts its worker: "fork" or "spawn"
    working_directory: str  # of the user's Python; used where it exists
    import_path: list[str]  # entries of the client's sys.path; see `import_path`
    local_directory: str  # scratch space; "" is the job's TMPDIR
    environment: dict[str, str]
    config: dict[str, Any]  # Dask settings that differ from Dask's defaults
    options: dict[str, Any]  # further keywords of Nanny or Worker
    interface: str  # to listen on, or a network; "" is the one to the scheduler
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
    """Cluster to node: ask again after this many seconds."""

    kind: ClassVar[str] = "wait"

    process_token: str
    seconds: float
    reason: str

    def __post_init__(self) -> None:
        _require(0 <= self.seconds <= 3600, f"cannot wait {self.seconds} s")


@dataclass(frozen=True, kw_only=True)
class NotNeeded:
    """Cluster to node: no more workers are needed; end with exit status 0."""

    kind: ClassVar[str] = "not_needed"

    process_token: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Cluster to node: this node cannot become a worker, for this reason."""

    kind: ClassVar[str] = "rejected"

    process_token: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ExitReport:
    """Node to cluster: it ends, for this cause."""

    kind: ClassVar[str] = "exit_report"

    job: str
    index: int
    submission_id: str
    process_token: str
    host: str
    cause: str  # the value of a `Cause`
    detail: str  # a sentence, or ""
    exit_status: int | None  # of the last worker process, where it is known
    signal: str | None  # that ended the last worker process, e.g. "SIGKILL"
    peak_memory: int  # bytes, of one worker process; 0 is unknown
    memory_limit: int  # bytes; 0 means no limit
    stderr: str  # the last lines of the node's log

    def __post_init__(self) -> None:
        _require(self.index >= 1, f"index must be at least 1, got {self.index}")
        _require(len(self.stderr) <= 16_384, "stderr has more than 16 kB")


@dataclass(frozen=True, kw_only=True)
class ControlRequest:
    """A process of the user, which can read the connection file, to the cluster."""

    kind: ClassVar[str] = "control_request"

    process_token: str  # random, one for each request
    what: str  # the command, see `dask_gridengine.cluster.control.ControlHandler`
    about: str  # a worker, node or job; "" is all
    via: str  # the cluster's address that answered

    def __post_init__(self) -> None:
        _require_token(self.process_token)
        _require(len(self.what) <= 64 and len(self.about) <= 256, "request too long")


@dataclass(frozen=True, kw_only=True)
class ControlReply:
    """Cluster to a process of the user: the answer to a `ControlRequest`."""

    kind: ClassVar[str] = "control_reply"

    process_token: str  # of the request
    body: dict[str, Any]
    error: str  # why there is no body; "" if there is one


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


def version_mismatch(cluster: Mapping[str, str], node: Mapping[str, str]) -> str:
    """Describe which versions differ between cluster and node; "" if none does.

    Python may differ in its micro version; dask, distributed and this package must
    be equal, because Dask's protocol promises nothing between versions.
    """
    digits = {"python": 2}  # of a version that have to be equal; None is all
    return "; ".join(
        f"{package} is {version} at the cluster and {node.get(package) or 'missing'}"
        " at the node"
        for package, version in cluster.items()
        if version.split(".")[: digits.get(package)]
        != node.get(package, "").split(".")[: digits.get(package)]
    )
