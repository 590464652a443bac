"""The user's clusters, found by the connection files in the shared directory.

Shell completion imports this module, so it imports neither Dask nor ZeroMQ.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection
from dask_gridengine.errors import BootstrapError, OptionError


class NamedCluster(Protocol):
    """A cluster as users refer to it."""

    @property
    def name(self) -> str: ...
    @property
    def directories(self) -> tuple[Path, ...]: ...


Cluster = TypeVar("Cluster", bound=NamedCluster)


@dataclass(frozen=True, kw_only=True)
class ClusterEntry:
    """A cluster that has a connection file: it runs, or ended without closing."""

    directories: tuple[Path, ...]  # one for each pool, in the shared directory
    connection: Connection  # of the first pool; each pool serves control requests

    @property
    def open(self) -> bool:
        """Whether one of its connection files still exists."""
        return any((path / FILE_NAME).exists() for path in self.directories)

    @property
    def name(self) -> str:
        """Name of the cluster, without the name of the pool that follows it."""
        connection = self.connection
        suffix = f"-{connection.pool}" if connection.pool else ""
        return connection.cluster.removesuffix(suffix)


def shared_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """Return the directory `given`, or the configured one, as an absolute path."""
    from dask_gridengine.dask_config import configured, default

    name = "shared-directory"
    place = configured(name, given or None) or default(name)
    return Path(os.path.expandvars(place)).expanduser().absolute()


def read_entries(shared: Path) -> list[ClusterEntry]:
    """Read all connection files in a directory; the oldest cluster comes first.

    Skips files that cannot be read, and files that others can read.
    """
    try:
        paths = sorted(shared.glob(f"*/{FILE_NAME}"))
    except OSError:
        return []
    entries = [entry for path in paths if (entry := read_entry(path.parent))]
    return _join_pools(sorted(entries, key=lambda entry: entry.connection.started))


def read_entry(directory: Path) -> ClusterEntry | None:
    """Read the connection file of one cluster; None without a valid file."""
    path = directory / FILE_NAME
    try:
        if path.stat().st_uid != os.getuid():
            return None  # its author knows the keys and could read our requests
        return ClusterEntry(directories=(directory,), connection=Connection.read(path))
    except (OSError, BootstrapError):
        return None


def _join_pools(entries: Iterable[ClusterEntry]) -> list[ClusterEntry]:
    """Join the pools of each cluster into one entry."""
    clusters: dict[object, ClusterEntry] = {}
    count: Counter[object] = Counter()
    for entry in entries:
        connection = entry.connection
        key = entry.name, connection.host, connection.process
        # A process may have several clusters of one name; each has a pool only once.
        count[key, connection.pool] += 1
        cluster = key, connection.pool != "", count[key, connection.pool]
        first = clusters.setdefault(cluster, entry)
        if first is not entry:
            joined = (*first.directories, *entry.directories)
            clusters[cluster] = replace(first, directories=joined)
    return list(clusters.values())


def unique_labels(clusters: Sequence[NamedCluster]) -> list[str]:
    """Return the shortest unique text for each cluster: its name or its directory's."""
    count = Counter(cluster.name for cluster in clusters)
    return [
        cluster.directories[0].name
        if count[cluster.name] > 1 and cluster.directories
        else cluster.name
        for cluster in clusters
    ]


def select(clusters: Sequence[Cluster], names: Iterable[str]) -> list[Cluster]:
    """Select clusters by name, directory name or path of the directory.

    Raises OptionError if a name fits no cluster.
    """
    selected: list[Cluster] = []
    for name in names:
        fitting = [
            cluster
            for cluster in clusters
            if name == cluster.name
            or any(name in (path.name, str(path)) for path in cluster.directories)
        ]
        if not fitting:
            existing = ", ".join(unique_labels(clusters)) or "none"
            raise OptionError(f"no cluster {name!r}. Your clusters: {existing}")
        selected += [cluster for cluster in fitting if cluster not in selected]
    return selected
