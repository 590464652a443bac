"""Clients of a cluster that runs in another process: ``dask_gridengine.connect()``.

The client's TLS identity comes from the cluster itself, through the channel that the
connection file opens; it is not written anywhere.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_gridengine.cli.client import ask_cluster
from dask_gridengine.cli.connection_files import (
    Entry,
    choose,
    entries,
    read_entry,
    shared_directory,
)
from dask_gridengine.errors import GridEngineError, NoAnswer, OptionError

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security


def connect(
    cluster: str | os.PathLike[str] | None = None,
    *,
    shared_directory: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Client:
    """A client of a cluster that another process of yours has started.

    Parameters
    ----------
    cluster
        Its name, its directory, or a scheduler file that ``dask gridengine up`` has
        written; None if there is but one.
    shared_directory
        Where clusters put their files, if not where the configuration says.
    **options
        Of `distributed.Client`, e.g. ``asynchronous=True``.

    Raises
    ------
    OptionError
        If there is no such cluster, or several.
    NoAnswer
        If it does not answer.

    Examples
    --------
    >>> with connect("mine") as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """
    from distributed import Client

    address, security = find(cluster, shared_directory)
    return Client(address, security=security, **options)


def find(
    cluster: str | os.PathLike[str] | None = None,
    shared: str | os.PathLike[str] | None = None,
) -> tuple[str, Security | None]:
    """Address and security for a client of a cluster; see `connect`."""
    entry = _entry(cluster, shared_directory(shared))
    told = ask_cluster(entry.connection, "client")
    return str(told["address"]), _security(told["tls"])


def _security(tls: dict[str, str] | None) -> Security | None:
    from distributed.security import Security

    from dask_gridengine.net.tls import isolated

    if tls is None:
        return None
    return isolated(
        Security(
            require_encryption=True,
            tls_ca_file=tls["ca"],
            tls_client_cert=tls["certificate"],
            tls_client_key=tls["key"],
        )
    )


def _entry(cluster: str | os.PathLike[str] | None, shared: Path) -> Entry:
    if cluster is not None and (path := Path(cluster)).is_file():
        return _from_file(path)
    if cluster is not None and (there := read_entry(Path(cluster).absolute())):
        return there
    asked = None if cluster is None else os.fspath(cluster)
    found = choose(entries(shared), asked)
    if not found:
        raise OptionError(
            f"no cluster of yours is in {shared}\n"
            "  what to do: dask gridengine up --jobs 4, or name another"
            " shared_directory="
        )
    if len(found) > 1:
        # Of several those that are gone need not be told apart.
        found = [entry for entry in found if _answers(entry)] or found
    if len(found) > 1:
        listed = "\n".join(f"    connect({str(e.directory)!r})" for e in found)
        raise OptionError(f"there are several clusters; which one?\n{listed}")
    return found[0]


def _answers(entry: Entry) -> bool:
    try:
        ask_cluster(entry.connection, "status")
    except NoAnswer:
        return False
    except GridEngineError:
        return True  # it is starting
    return True


def _from_file(path: Path) -> Entry:
    try:
        directory = Path(json.loads(path.read_text())["gridengine"]["directory"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OptionError(
            f"{path} was not written by dask gridengine up --scheduler-file: {exc!r}"
        ) from exc
    if (entry := read_entry(directory)) is None:
        raise OptionError(f"the cluster of {path} is closed: {directory} is gone")
    return entry
