"""Control requests to a cluster of another process, and `dask_gridengine.connect`.

A request uses the cluster's bootstrap channel and the keys of its connection file,
which only its user can read. So no further port and no further secret is needed. The
client's TLS identity is part of a reply; it is not written to a file.

Rejected: a file with the cluster's state in the shared directory. It is outdated as
soon as it is written, and loads the file server as long as the cluster runs. Also
rejected: the dashboard's server, which serves everyone and can be switched off.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_gridengine.bootstrap.client import open_dealer, send
from dask_gridengine.bootstrap.codec import MAX_FROM_CLUSTER, decode
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import ControlReply, ControlRequest
from dask_gridengine.cli.connection_files import (
    ClusterEntry,
    read_entries,
    read_entry,
    select,
)
from dask_gridengine.cli.connection_files import shared_directory as resolve_shared
from dask_gridengine.errors import (
    GridEngineError,
    NoAnswer,
    OptionError,
    short_traceback,
)
from dask_gridengine.net.connect_probe import ConnectProbe

if TYPE_CHECKING:
    from distributed import Client
    from distributed.security import Security

CONNECT_SECONDS = 2.0  # for one address to accept; a user waits for the reply
REPLY_SECONDS = 5.0  # for a reply that needs no worker
NO_REPLY = "connected, but did not answer"  # suspended, busy, or another program


def send_request(
    connection: Connection,
    command: str,
    about: str = "",
    *,
    timeout: float = REPLY_SECONDS,
) -> dict[str, Any]:
    """Send one control request to a cluster and return the body of its reply.

    `ControlHandler` describes the commands; `about` is a worker, node or job. Raises
    NoAnswer if no address replies in `timeout` seconds, and GridEngineError if the
    reply is an error.
    """
    probe = ConnectProbe(connection.addresses, CONNECT_SECONDS)
    with contextlib.closing(probe.connected()) as connected:
        for address, at in connected:
            request = ControlRequest(
                process_token=secrets.token_hex(8),
                what=command,
                about=about,
                via=address,
            )
            reply = _exchange(connection, request, at, timeout)
            if reply is None:
                probe.correct(address, NO_REPLY)
            elif reply.error:
                raise GridEngineError(reply.error)
            else:
                return reply.body
    raise NoAnswer(connection.cluster, probe.results())


def _exchange(
    connection: Connection, request: ControlRequest, at: str, timeout: float
) -> ControlReply | None:
    deadline = time.monotonic() + timeout
    with open_dealer(connection, at) as dealer:
        if not send(dealer, request):
            return None
        while (left := deadline - time.monotonic()) > 0:
            if not dealer.poll(int(left * 1000) + 1):
                break
            message = decode(dealer.recv(), MAX_FROM_CLUSTER)
            if isinstance(message, ControlReply) and (
                message.process_token == request.process_token
            ):
                return message
    return None


@short_traceback
def connect(
    cluster: str | os.PathLike[str] | None = None,
    *,
    shared_directory: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Client:
    """Connect a client to a cluster that another process of yours has started.

    Parameters
    ----------
    cluster
        Name or directory of the cluster, or a scheduler file that ``dask gridengine
        up`` has written. Not needed if only one cluster runs.
    shared_directory
        Directory of the clusters' connection files; by default the setting
        ``shared-directory``.
    **options
        Keyword arguments of `distributed.Client`, e.g. ``asynchronous=True``.

    Returns
    -------
    distributed.Client

    Raises
    ------
    OptionError
        If no cluster has this name, or several have.
    NoAnswer
        If the cluster does not answer.

    Examples
    --------
    >>> with connect("mine") as client:  # doctest: +SKIP
    ...     client.submit(sum, [1, 2, 3]).result()
    6
    """
    from distributed import Client

    from dask_gridengine.unknown_options import refuse_unknown_keys

    refuse_unknown_keys()
    entry = _find(cluster, resolve_shared(shared_directory))
    reply = send_request(entry.connection, "client")
    return Client(reply["address"], security=_security(reply["tls"]), **options)


def _security(tls: dict[str, str] | None) -> Security | None:
    from distributed.security import Security

    from dask_gridengine.net.isolated_tls import isolated

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


def _find(cluster: str | os.PathLike[str] | None, shared: Path) -> ClusterEntry:
    if cluster is None:
        return _only_one(read_entries(shared), shared)
    path = Path(cluster)
    if path.is_file():
        return _from_scheduler_file(path)
    if entry := read_entry(path.absolute()):
        return entry
    return _only_one(select(read_entries(shared), [os.fspath(cluster)]), shared)


def _only_one(entries: list[ClusterEntry], shared: Path) -> ClusterEntry:
    if not entries:
        raise OptionError(
            f"you have no cluster in {shared}",
            hint="dask gridengine up --jobs 4, or connect(shared_directory=...)",
        )
    if len(entries) > 1:
        entries = [entry for entry in entries if _answers(entry)] or entries
    if len(entries) > 1:
        calls = ", ".join(f"connect({str(e.directories[0])!r})" for e in entries)
        raise OptionError(f"you have {len(entries)} clusters", hint=f"one of {calls}")
    return entries[0]


def _answers(entry: ClusterEntry) -> bool:
    try:
        send_request(entry.connection, "status")
    except NoAnswer:
        return False
    except GridEngineError:
        return True  # it is starting
    return True


def _from_scheduler_file(path: Path) -> ClusterEntry:
    try:
        directory = Path(json.loads(path.read_text())["gridengine"]["directory"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise OptionError(
            f"{path} was not written by dask gridengine up --scheduler-file: {exc!r}"
        ) from exc
    if (entry := read_entry(directory)) is None:
        raise OptionError(f"the cluster of {path} is closed: {directory} is gone")
    return entry
