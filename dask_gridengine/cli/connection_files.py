"""Which clusters there are: one connection file each, in the shared directory.

Light, because shell completion looks here: no Dask but its configuration.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection
from dask_gridengine.errors import BootstrapError, OptionError

SETTINGS = Path(__file__).parents[1] / "gridengine.yaml"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A cluster that is not closed, or was not when its host went down.

    Of one with several pools each has a directory and a door; any of them will do.
    """

    directories: tuple[Path, ...]  # its own, in the shared one
    connection: Connection

    @property
    def directory(self) -> Path:
        return self.directories[0]

    @property
    def open(self) -> bool:
        """Whether any of its connection files is still there."""
        return any((place / FILE_NAME).exists() for place in self.directories)

    @property
    def name(self) -> str:
        """The cluster's; its pools' jobs have theirs behind it."""
        told = self.connection
        return told.cluster.removesuffix(f"-{told.pool}") if told.pool else told.cluster


def shared_directory(given: str | os.PathLike[str] | None = None) -> Path:
    """Where clusters of this user put their files, if nothing else is `given`."""
    from dask_gridengine.option_defaults import DEFAULTS, SECTION, configured

    name = "shared-directory"
    place = configured(name, given or None) or DEFAULTS[SECTION][name]
    return Path(os.path.expandvars(place)).expanduser().absolute()


def entries(shared: Path) -> list[Entry]:
    """All clusters with a connection file there, the oldest first.

    Files that cannot be read, or that others can read, are passed over.
    """
    found = [entry for path in _files(shared) if (entry := read_entry(path.parent))]
    return _joined(sorted(found, key=lambda entry: entry.connection.started))


def _joined(doors: Iterable[Entry]) -> list[Entry]:
    """Pools of one cluster as one entry."""
    clusters: list[tuple[Entry, set[str]]] = []
    for one in doors:
        told = one.connection
        who, pool = (one.name, told.host, told.process), told.pool
        for i, (entry, pools) in enumerate(clusters):
            other = entry.connection
            same = (entry.name, other.host, other.process) == who
            # One process may have two clusters of a name, but none a pool twice.
            if same and pool and pool not in pools and "" not in pools:
                whole = (*entry.directories, *one.directories)
                clusters[i] = (replace(entry, directories=whole), pools | {pool})
                break
        else:
            clusters.append((one, {pool}))
    return [entry for entry, _ in clusters]


def read_entry(directory: Path) -> Entry | None:
    """The cluster whose directory this is; None if it has no connection file."""
    path = directory / FILE_NAME
    try:
        if path.stat().st_uid != os.getuid():
            return None  # whoever wrote it knows its keys, and would hear us
        return Entry(directories=(directory,), connection=Connection.read(path))
    except (OSError, BootstrapError):
        return None


def labels(names: Mapping[Path, str]) -> dict[Path, str]:
    """What to call each of these directories' clusters: by name, if only one has it.

    Examples
    --------
    >>> two = {Path("/s/a-1"): "a", Path("/s/a-2"): "a", Path("/s/b-1"): "b"}
    >>> sorted(labels(two).values())
    ['a-1', 'a-2', 'b']
    """
    often = Counter(names.values())
    return {
        directory: name if often[name] == 1 else directory.name
        for directory, name in names.items()
    }


def choose(entries: Collection[Entry], asked: str | None) -> list[Entry]:
    """Those that are called so, by name or directory; all if nothing is asked for.

    Raises
    ------
    OptionError
        If there is none.
    """
    if asked is None:
        return list(entries)
    found = [
        entry
        for entry in entries
        if asked
        in (entry.name, *(n for d in entry.directories for n in (d.name, str(d))))
    ]
    if not found:
        named = labels({entry.directory: entry.name for entry in entries}).values()
        there = ", ".join(named) or "none"
        raise OptionError(f"no cluster {asked!r}; there are: {there}")
    return found


def _files(shared: Path) -> Iterator[Path]:
    try:
        yield from sorted(shared.glob(f"*/{FILE_NAME}"))
    except OSError:
        return
