"""All clusters of this user, by their connection files and their jobs on the grid.

What a cluster in the state "gone" has left may be deleted, so that state needs proof:
the cluster's process has ended, or the directory that its jobs name does not exist.
Silence is not a proof: the process may be suspended, or behind a firewall. Jobs that
lead to no connection file are not a proof either: their cluster is "unknown".
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.batch.commands import Runner, run_command
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.cli.client import send_request
from dask_gridengine.cli.connection_files import (
    ClusterEntry,
    read_entries,
    select,
    unique_labels,
)
from dask_gridengine.errors import GridEngineError, NoAnswer, OptionError
from dask_gridengine.grid_types import MarkedJob
from dask_gridengine.launchers.drmaa.discovery import configured_systems

ALIVE, GONE, SILENT, UNKNOWN = "alive", "gone", "silent", "unknown"
NO_GRID = "no grid is set up here (no SGE_ROOT, no squeue)"
MAX_REQUESTS = 16  # clusters that are queried at the same time

#: Jobs by the cluster directory that they name, or by their id if they name none.
JobsByDirectory = Mapping[Path | str, Sequence[MarkedJob]]


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """One cluster, as seen from this process."""

    name: str
    label: str  # unique: its name, or the name of its directory
    directories: tuple[Path, ...] = ()  # one for each pool; not known of some jobs
    entry: ClusterEntry | None = None  # None if it has no connection file any more
    state: str = UNKNOWN  # `ALIVE`, `GONE`, `SILENT` or `UNKNOWN`
    why: str = ""  # reason for the state if it is not `ALIVE`
    status: dict[str, Any] = field(default_factory=dict)  # its own; see `snapshot`
    jobs: tuple[MarkedJob, ...] = ()  # on the grid
    #: Why its grid's jobs could not be listed; "" if they were, or it has none.
    jobs_unknown: str = ""

    @property
    def connection(self) -> Connection | None:
        return self.entry.connection if self.entry else None

    @property
    def grid_states(self) -> Counter[str]:
        """Number of its nodes by the grid's names for their state."""
        total: Counter[str] = Counter()
        for job in self.jobs:
            total.update(job.states)
        return total


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """All clusters of this user."""

    clusters: tuple[ClusterInfo, ...]  # the oldest first
    #: Why the jobs of a batch system could not be listed, by its name.
    problems: Mapping[str, str]

    @property
    def grid_problem(self) -> str:
        """Why no jobs could be listed, e.g. `NO_GRID`; "" if they were."""
        return "; ".join(self.problems.values())

    @property
    def grid_note(self) -> str:
        """A clause for messages that no cluster was found; "" if all was searched."""
        problem = self.grid_problem
        return f"; did not search the grid: {problem}" if problem else ""


def describe_failure(exc: Exception) -> str:
    """Describe why a command of a grid failed, by its own output if possible."""
    outputs = (getattr(exc, "stderr", ""), getattr(exc, "stdout", ""), exc, repr(exc))
    return next(text for output in outputs if (text := str(output or "").strip()))


def discover(
    shared: Path,
    run: Runner = run_command,
    systems: Sequence[BatchSystem] | None = None,
) -> Discovery:
    """Find all clusters of this user: in the shared directory, and on the grid.

    Clusters with another shared directory are found by their jobs. `systems` are by
    default the batch systems that are set up here.
    """
    if systems is None:
        systems = configured_systems(os.environ)
    jobs, problems = _list_jobs(systems, run)
    by_directory: defaultdict[Path | str, list[MarkedJob]] = defaultdict(list)
    for job in jobs:
        by_directory[_real(job.directory) if job.directory else job.id].append(job)
    entries = _all_entries(shared, by_directory)

    def inspect(entry: ClusterEntry) -> ClusterInfo | None:
        system = entry.connection.batch_system
        listed = any(s.name == system for s in systems) and system not in problems
        unknown = "" if listed else problems.get(system, f"{system} is not set up here")
        local = entry.connection.launcher == "process"
        return _inspect(entry, by_directory, "" if local else unknown)

    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        probed = list(pool.map(inspect, entries))
    known = _real_directories(entries)
    clusters = [
        *(cluster for cluster in probed if cluster is not None),
        *(_orphaned(p, jobs) for p, jobs in by_directory.items() if p not in known),
    ]
    labels = unique_labels(clusters)
    labelled = (replace(c, label=x) for c, x in zip(clusters, labels, strict=True))
    if not systems:
        problems = {"": NO_GRID}
    return Discovery(clusters=tuple(labelled), problems=problems)


def discover_selected(shared: Path, cluster: str | None) -> list[ClusterInfo]:
    """Find the cluster of this name, or all; OptionError if none is found."""
    found = discover(shared)
    if cluster is not None:
        return select(found.clusters, [cluster])
    if not found.clusters:
        raise OptionError(
            f"you have no cluster in {shared}{found.grid_note}",
            hint="to start one: dask gridengine up --jobs 4",
        )
    return list(found.clusters)


def _list_jobs(
    systems: Iterable[BatchSystem], run: Runner
) -> tuple[list[MarkedJob], dict[str, str]]:
    jobs: list[MarkedJob] = []
    problems = {}
    for system in systems:
        try:
            jobs += system.marked_jobs(run)
        except LookupError as exc:
            problems[system.name] = str(exc)
        except (OSError, subprocess.SubprocessError) as exc:
            reason = describe_failure(exc).splitlines()[-1]
            problems[system.name] = f"{system.listing} failed: {reason}"
    return jobs, problems


def _all_entries(shared: Path, by_directory: JobsByDirectory) -> list[ClusterEntry]:
    """Read the clusters in the shared directory, and those with jobs elsewhere."""
    entries = read_entries(shared)
    known = _real_directories(entries)
    elsewhere = {
        p.parent for p in by_directory if isinstance(p, Path) and p not in known
    }
    return entries + [
        entry
        for other in sorted(elsewhere - {_real(shared)})
        for entry in read_entries(other)
        if not _real_directories([entry]).isdisjoint(by_directory)
    ]


def _real(directory: Path) -> Path:
    """Resolve links: a job and the user may name one directory by different links."""
    return Path(os.path.realpath(directory))


def _real_directories(entries: Iterable[ClusterEntry]) -> set[Path]:
    return {_real(directory) for entry in entries for directory in entry.directories}


def _inspect(
    entry: ClusterEntry, by_directory: JobsByDirectory, jobs_unknown: str
) -> ClusterInfo | None:
    """Query one cluster; None if it was closed meanwhile."""
    state, why, status = _probe(entry.connection)
    if state != ALIVE and not entry.open:
        return None
    directories = [_real(directory) for directory in entry.directories]
    jobs = tuple(job for d in directories for job in by_directory.get(d, ()))
    return ClusterInfo(
        name=entry.name,
        label=entry.name,
        directories=entry.directories,
        entry=entry,
        state=state,
        why=why,
        status=status,
        jobs=jobs,
        # Where another system's commands list some of its jobs, they list all.
        jobs_unknown="" if jobs else jobs_unknown,
    )


def _probe(connection: Connection) -> tuple[str, str, dict[str, Any]]:
    """Return the state of a cluster, the reason for it, and its status."""
    try:
        return ALIVE, "", send_request(connection, "status")
    except NoAnswer as exc:
        if connection.process.has_ended():
            return GONE, f"process {connection.pid} has ended", {}
        return SILENT, _explain_silence(connection, exc.tried), {}
    except GridEngineError as exc:
        return ALIVE, str(exc), {}


def _explain_silence(connection: Connection, tried: Mapping[str, str]) -> str:
    host, process = connection.host or "its host", connection.process
    if process.here:
        return f"process {process.pid} runs, but is suspended or busy"
    if host == socket.gethostname():
        return (
            f"process {process.pid} belongs to another container or boot of {host} and"
            " does not answer"
        )
    # Also "connection refused" is not a proof: some firewalls send it.
    answers = ", ".join(f"{address}: {why}" for address, why in tried.items())
    return f"{host} does not answer ({answers})"


def _orphaned(origin: Path | str, jobs: Sequence[MarkedJob]) -> ClusterInfo:
    """Describe the cluster of jobs that lead to no connection file."""
    name = jobs[0].name
    if not isinstance(origin, Path):
        # Labelled with the job id: a running cluster may have the same name.
        why = f"job {origin} ({name}) does not name its cluster"
        return ClusterInfo(name=origin, label=origin, jobs=tuple(jobs), why=why)
    gone = _provably_gone(origin)
    return ClusterInfo(
        name=name,
        label=name,
        directories=(origin,),
        state=GONE if gone else UNKNOWN,
        why=f"{origin} does not exist" if gone else f"no connection file in {origin}",
        jobs=tuple(jobs),
    )


def _provably_gone(directory: Path) -> bool:
    """Whether a cluster's directory is missing although its file system is mounted.

    If it is not mounted, the parent is missing as well, or is an empty mount point or
    the ``/tmp`` of another host. Both belong to root.
    """
    try:
        parent = directory.parent.stat()
        os.listdir(directory.parent)
    except OSError:
        return False
    if not stat.S_ISDIR(parent.st_mode) or parent.st_uid != os.getuid():
        return False
    try:
        directory.stat()
    except OSError as exc:
        return isinstance(exc, FileNotFoundError)
    return False
