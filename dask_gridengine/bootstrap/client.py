"""The node's end of the bootstrap channel. Blocking, without Dask.

This runs in a thousand processes at once, before anything heavy is imported, so it
imports only sockets and pyzmq. Each wait has a deadline: with CURVE a wrong key is not
an error but silence.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace

import zmq

from dask_gridengine.bootstrap.codec import MAX_FROM_CLUSTER, decode, encode
from dask_gridengine.bootstrap.connection_file import Connection
from dask_gridengine.bootstrap.messages import (
    Allocation,
    Answer,
    ExitReport,
    Hello,
    Message,
    NotNeeded,
    Rejected,
    Wait,
)
from dask_gridengine.errors import BootstrapError
from dask_gridengine.formatting import format_duration
from dask_gridengine.net.connect_probe import CONNECTED, ConnectProbe, try_connect

CONNECT_SECONDS = 5.0  # for one address to accept; 2 s was too short for a peer
ANSWER_SECONDS = 10.0  # for an answer, until the hello is sent again
REPORT_SECONDS = 1.0  # for an exit report to leave this host


def request_allocation(
    connection: Connection, hello: Hello
) -> Allocation | NotNeeded | Rejected:
    """Send a hello until the cluster has given a final answer.

    Fills in the hello's ``via`` and ``tried``. Raises BootstrapError, with what
    happened at each address, if none answers within ``connection.timeout`` seconds,
    counted from the last answer.
    """
    timeout = _Timeout(connection.timeout)
    while True:
        probe = ConnectProbe(connection.addresses, timeout.left(CONNECT_SECONDS))
        with contextlib.closing(probe.connected()) as connected:
            for address, numeric in connected:
                message = replace(hello, via=address, tried=probe.results())
                answer = _exchange(connection, message, numeric, timeout)
                if answer is not None:
                    return answer
                probe.correct(address, "connected, but did not answer to our key")
        if timeout.expired:
            raise BootstrapError(_unreachable(connection, probe.results()))
        time.sleep(0.5 + random.random())


def send_exit_report(
    connection: Connection, address: str, exit_report: ExitReport
) -> bool:
    """Report why this node ends; False if the cluster cannot be reached."""
    result, numeric = try_connect(address, REPORT_SECONDS)
    if result != CONNECTED:
        return False  # spares the nodes of a closed cluster the linger
    with open_dealer(connection, numeric) as dealer:
        dealer.linger = int(REPORT_SECONDS * 1000)
        return send(dealer, exit_report)


class _Timeout:
    """The seconds without an answer after which a node gives up.

    Each answer renews it, also one that says to wait for longer than that: the cluster
    may be busy with a thousand others when the node asks again.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        self._deadline = time.monotonic() + self._seconds

    def left(self, most: float) -> float:
        """Seconds for the next step; 1 s even at the end, so that each is tried."""
        return min(most, max(1.0, self._deadline - time.monotonic()))

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._deadline


def _exchange(
    connection: Connection, hello: Hello, numeric: str, timeout: _Timeout
) -> Allocation | NotNeeded | Rejected | None:
    """Return the final answer of one address; None if it does not answer."""
    with open_dealer(connection, numeric) as dealer:
        while True:
            if not send(dealer, hello):
                return None
            seconds = timeout.left(ANSWER_SECONDS)
            answer = _receive(dealer, hello.process_token, seconds)
            while isinstance(answer, Wait):
                # The final answer may come before the wait is over.
                early = _receive(dealer, hello.process_token, answer.seconds)
                timeout.renew()
                if early is None:
                    break
                answer = early
            else:
                return answer


def _receive(
    dealer: zmq.Socket[bytes], process_token: str, timeout: float
) -> Answer | None:
    """Return the next answer that is for this process."""
    end = time.monotonic() + timeout
    while (left := end - time.monotonic()) > 0:
        if not dealer.poll(int(left * 1000) + 1):
            return None
        message = decode(dealer.recv(), MAX_FROM_CLUSTER)
        if isinstance(message, Allocation | Wait | NotNeeded | Rejected) and (
            message.process_token == process_token
        ):
            return message
    return None


@contextlib.contextmanager
def open_dealer(connection: Connection, numeric: str) -> Iterator[zmq.Socket[bytes]]:
    """Open a socket to a numeric address of the cluster, with the nodes' keys.

    Closing it ends the context, too: a fork must find no thread.
    """
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.linger = 0
        dealer.ipv6 = numeric.startswith("[")
        dealer.curve_serverkey = connection.server_key.encode()
        dealer.curve_publickey = connection.node_keys.public.encode()
        dealer.curve_secretkey = connection.node_keys.secret.encode()
        dealer.connect(f"tcp://{numeric}")
        yield dealer
    finally:
        dealer.close()
        context.term()


def send(dealer: zmq.Socket[bytes], message: Message) -> bool:
    """Send a message without blocking; False if libzmq has given the peer up.

    It does so for good when the peer refuses our key or does not speak ZMTP, as a
    program that took the port after the cluster; a blocking send would never return.
    """
    try:
        dealer.send(encode(message), zmq.DONTWAIT)
    except zmq.Again:
        return False
    return True


def _unreachable(connection: Connection, tried: dict[str, str]) -> str:
    results = "\n".join(f"    {address}: {result}" for address, result in tried.items())
    return (
        f"no answer from cluster {connection.cluster} in"
        f" {format_duration(connection.timeout)}. It may be closed, a firewall may"
        " block the connection, its address may not be reachable from here, or the"
        f" connection file may be another cluster's. Tried:\n{results}"
    )
