"""A user's clusters, seen from outside: who answers, who is gone, what is left of them.

"Gone" needs proof, because what is left of a cluster that is gone may be deleted: its
process has ended, or the directory that its jobs name is not there. Silence proves
nothing: it may be suspended, or a firewall in between. Nor do jobs that lead to no
connection file: their cluster is "unknown".
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dask_gridengine.batch.base import Runner
from dask_gridengine.batch.sge.qstat import MarkedJob, marked_jobs_of, user_name
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.cli.client import ask_cluster
from dask_gridengine.cli.connection_files import Entry, entries, labels
from dask_gridengine.errors import GridEngineError, NoAnswer
from dask_gridengine.launchers.commands import run_command
from dask_gridengine.launchers.drmaa.discovery import find_root
from dask_gridengine.net.addresses import split

ALIVE, GONE, SILENT, UNKNOWN = "alive", "gone", "silent", "unknown"
NO_GRID = "there is no Grid Engine here (SGE_ROOT is not set)"
AT_ONCE = 16  # clusters that are asked at a time
LOOPBACK_PREFIXES = ("127.", "::1", "localhost")


@dataclass(frozen=True, kw_only=True)
class ClusterInfo:
    """One cluster, as far as it can be seen from here."""

    name: str
    label: str  # its name, or where that is not unique its directory's, or its job's
    directories: tuple[Path, ...]  # one for each pool; none is known of some jobs
    entry: Entry | None  # None if it has no connection file any more
    state: str  # `ALIVE`, `GONE`, `SILENT` or `UNKNOWN`
    why: str  # it is not `ALIVE`; "" if it is
    status: dict[str, Any]  # what it says of itself; see `snapshot`
    jobs: tuple[MarkedJob, ...]  # that the grid has of it

    @property
    def directory(self) -> Path | None:
        return self.directories[0] if self.directories else None

    @property
    def tasks_left(self) -> dict[str, int]:
        """Grid Engine's letters to how many of its nodes are in that state."""
        total: defaultdict[str, int] = defaultdict(int)
        for job in self.jobs:
            for state, count in job.states.items():
                total[state] += count
        return dict(total)


@dataclass(frozen=True, kw_only=True)
class Overview:
    """All that was seen."""

    clusters: tuple[ClusterInfo, ...]  # the oldest first
    grid: str  # why no jobs were looked for, e.g. `NO_GRID`; "" if they were


def look(shared: Path, run: Runner | None = None) -> Overview:
    """Look for all clusters of this user: in the directory, and on the grid.

    Parameters
    ----------
    shared
        Where clusters put their files. Those that put them elsewhere are found by
        their jobs.
    run
        Runs qstat; this host's by default.
    """
    jobs, problem = _jobs(run)
    by_directory: defaultdict[Path | str, list[MarkedJob]] = defaultdict(list)
    for job in jobs:
        by_directory[_real(job.directory) if job.directory else job.id].append(job)
    known = _known(shared, by_directory)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(lambda entry: _sight(entry, by_directory), known))
    there = [seen for seen in found if seen is not None]  # others closed meanwhile
    places = {_real(place) for entry in known for place in entry.directories}
    strays = [
        _stray(place, left)
        for place, left in by_directory.items()
        if place not in places
    ]
    return Overview(clusters=tuple(_labelled([*there, *strays])), grid=problem)


def _known(shared: Path, by_directory: Mapping[Path | str, object]) -> list[Entry]:
    """Clusters with a file in the shared directory, and those with jobs elsewhere."""
    found = entries(shared)
    places = {_real(place) for entry in found for place in entry.directories}
    elsewhere = {
        place.parent
        for place in by_directory
        if isinstance(place, Path) and place not in places
    }
    return found + [
        entry
        for other in sorted(elsewhere - {_real(shared)})
        for entry in entries(other)
        if any(_real(place) in by_directory for place in entry.directories)
    ]


def _real(directory: Path) -> Path:
    """A job and the user may name one directory by different links."""
    return Path(os.path.realpath(directory))


def host_runner() -> Runner:
    """Runs Grid Engine's commands as this process would."""
    return lambda command: run_command(command, os.environ)


def see(entry: Entry) -> tuple[str, str, dict[str, Any]]:
    """Whether a cluster answers: its state, why it is thought so, what it says."""
    connection, tried = entry.connection, {}
    if not _only_there(connection):
        try:
            return ALIVE, "", ask_cluster(connection, "status")
        except NoAnswer as exc:
            tried = exc.tried
        except GridEngineError as exc:
            return ALIVE, str(exc), {}
    if connection.process.has_ended():
        return GONE, f"process {connection.pid} is not there any more", {}
    return SILENT, _silence(connection, tried), {}


def _silence(connection: Connection, tried: dict[str, str]) -> str:
    """Why a cluster does not answer, as far as can be seen from here."""
    host, process = connection.host, connection.process
    if not process.boot:
        return f"whether process {process.pid} lives cannot be told from here"
    if process.here:
        return f"process {process.pid} is there, but is suspended or busy"
    if _only_there(connection):
        return f"it can be asked on {host} only"
    if host == socket.gethostname():
        return (
            f"process {process.pid} is of another container or boot of {host}, and does"
            " not answer"
        )
    # Refused is no proof either: there are firewalls that say so in a host's name.
    outside = {a: said for a, said in tried.items() if not _loopback(a)}
    answers = ", ".join(f"{address}: {said}" for address, said in outside.items())
    return f"{host} does not answer ({answers})"


def _only_there(connection: Connection) -> bool:
    """Whether it listens to its own host alone, and that is another one."""
    return connection.host != socket.gethostname() and all(
        _loopback(address) for address in connection.addresses
    )


def _loopback(address: str) -> bool:
    return split(address)[0].startswith(LOOPBACK_PREFIXES)


def _jobs(run: Runner | None) -> tuple[list[MarkedJob], str]:
    if run is None and find_root(os.environ) is None:
        return [], NO_GRID
    try:
        return marked_jobs_of(user_name(), run or host_runner()), ""
    except FileNotFoundError:
        return [], "there is no qstat here"
    except subprocess.CalledProcessError as exc:
        said = (exc.stderr or exc.stdout or "").strip().splitlines()
        return [], f"qstat failed: {said[-1] if said else exc}"
    except (OSError, subprocess.SubprocessError) as exc:
        return [], f"qstat failed: {exc}"


def _sight(
    entry: Entry, by_directory: Mapping[Path | str, list[MarkedJob]]
) -> ClusterInfo | None:
    state, why, status = see(entry)
    if state != ALIVE and not entry.open:
        return None
    jobs = [
        job for place in entry.directories for job in by_directory.get(_real(place), ())
    ]
    return ClusterInfo(
        name=entry.name,
        label=entry.name,
        directories=entry.directories,
        entry=entry,
        state=state,
        why=why,
        status=status,
        jobs=tuple(jobs),
    )


def _stray(place: Path | str, jobs: list[MarkedJob]) -> ClusterInfo:
    """Jobs that lead to no connection file."""
    seen = ClusterInfo(
        name=jobs[0].name,
        label=jobs[0].name,
        directories=(place,) if isinstance(place, Path) else (),
        entry=None,
        state=UNKNOWN,
        why="",
        status={},
        jobs=tuple(jobs),
    )
    if not isinstance(place, Path):
        # Not called by its name, which may be that of a cluster that lives.
        why = f"job {place} ({seen.name}) does not say which cluster it belongs to"
        return replace(seen, name=place, label=place, why=why)
    if _provably_gone(place):
        return replace(seen, state=GONE, why=f"its directory {place} is gone")
    return replace(seen, why=f"no connection file can be read in {place}")


def _provably_gone(directory: Path) -> bool:
    """Whether a cluster's directory is missing where it would be seen.

    Where its file system is not mounted the directory above is missing, too, or it is
    an empty mount point or another host's ``/tmp``, which are root's.
    """
    try:
        above = directory.parent.stat()
        os.listdir(directory.parent)
    except OSError:
        return False
    if not stat.S_ISDIR(above.st_mode) or above.st_uid != os.getuid():
        return False
    try:
        directory.stat()
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _labelled(found: list[ClusterInfo]) -> list[ClusterInfo]:
    called = labels({s.directory: s.name for s in found if s.directory is not None})
    return [
        replace(s, label=called[s.directory]) if s.directory is not None else s
        for s in found
    ]
