"""The user's side of the door: a question to a cluster, from whatever process.

Whoever can read a cluster's connection file, which is its user, may ask. So there is
neither another port nor another secret: the channel is the one nodes come by.

Rejected: a file of its state in the shared directory, which is old as soon as it is
written and burdens the file server for as long as the cluster lives; and the
dashboard's server, which anybody may ask, and which can be switched off.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

from dask_gridengine.bootstrap.client import open_dealer, send
from dask_gridengine.bootstrap.codec import MAX_FROM_CLUSTER, decode
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import ControlReply, ControlRequest
from dask_gridengine.errors import GridEngineError, NoAnswer
from dask_gridengine.net.connect_probe import ConnectProbe

CONNECT_SECONDS = 2.0  # for an address to accept: someone waits for the answer
ANSWER_SECONDS = 5.0  # for an answer that needs nobody else
UNHEARD = "connected, but did not answer"  # suspended, or busy, or another's port


def ask_cluster(
    connection: Connection, what: str, about: str = "", *, seconds: float | None = None
) -> dict[str, Any]:
    """Put a question to a cluster.

    Parameters
    ----------
    connection
        Where its door is, and the keys.
    what
        See `dask_gridengine.cluster.control.ControlHandler`.
    about
        A worker, node or job; "" is all.
    seconds
        It has to answer; `ANSWER_SECONDS` by default.

    Raises
    ------
    NoAnswer
        If it does not.
    GridEngineError
        If it answers that it will not, in its words.
    """
    seconds = ANSWER_SECONDS if seconds is None else seconds
    knocks = ConnectProbe(connection.addresses, CONNECT_SECONDS)
    with contextlib.closing(knocks.connected()) as connected:
        for address, at in connected:
            question = ControlRequest(
                process_token=secrets.token_hex(8), what=what, about=about, via=address
            )
            told = _converse(connection, question, at, seconds)
            if told is None:
                knocks.correct(address, UNHEARD)
            elif told.error:
                raise GridEngineError(told.error)
            else:
                return told.body
    raise NoAnswer(connection.cluster, knocks.results())


def _converse(
    connection: Connection, question: ControlRequest, at: str, seconds: float
) -> ControlReply | None:
    deadline = time.monotonic() + seconds
    with open_dealer(connection, at) as dealer:
        if not send(dealer, question):
            return None
        while (left := deadline - time.monotonic()) > 0:
            if not dealer.poll(int(left * 1000) + 1):
                break
            message = decode(dealer.recv(), MAX_FROM_CLUSTER)
            if isinstance(message, ControlReply) and (
                message.process_token == question.process_token
            ):
                return message
    return None
