"""A node's side of the door: find it, ask, and say farewell. Blocking, no Dask.

This runs a thousand times at once, before anything heavy is imported, so it takes
only sockets and pyzmq. Every wait has a deadline: with CURVE a wrong key is not an
error but silence.
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
from dask_gridengine.net.connect_probe import CONNECTED, ConnectProbe, try_connect

CONNECT_SECONDS = 5.0  # for one address to accept; 2 s was too short for a peer
ANSWER_SECONDS = 10.0  # for the door to answer before the hello is sent again
FAREWELL_SECONDS = 1.0  # for a farewell to leave this host


def ask(connection: Connection, hello: Hello) -> Answer:
    """Say hello until the door has given a final answer.

    Parameters
    ----------
    connection
        Where the door is.
    hello
        Who we are; ``via`` and ``tried`` are filled in here.

    Returns
    -------
    Allocation, Leave or Rejected

    Raises
    ------
    DoorError
        If no address answers within ``connection.timeout`` seconds, counted anew
        from every answer; the message lists each address with what it answered.
    """
    timeout = _Patience(connection.timeout)
    while True:
        knocks = ConnectProbe(connection.addresses, timeout.left(CONNECT_SECONDS))
        with contextlib.closing(knocks.connected()) as connected:
            for address, at in connected:
                greeting = replace(hello, via=address, tried=knocks.answers())
                answer = _converse(connection, greeting, at, timeout)
                if answer is not None:
                    return answer
                knocks.correct(address, "connected, but did not answer to our key")
        if timeout.over:
            raise BootstrapError(_no_door(connection, knocks.answers()))
        time.sleep(0.5 + random.random())


def send_exit_report(
    connection: Connection, address: str, exit_report: ExitReport
) -> bool:
    """Tell the cluster why this node ends; False if it is not there any more."""
    said, at = try_connect(address, FAREWELL_SECONDS)
    if said != CONNECTED:
        return False  # spares a closed cluster's nodes the linger
    with open_dealer(connection, at) as dealer:
        dealer.linger = int(FAREWELL_SECONDS * 1000)
        return say(dealer, exit_report)


class _Patience:
    """How long the door may stay silent.

    A node that was told to wait for longer than that has not met silence: the door
    may be busy with a thousand others when it asks again.
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
    def over(self) -> bool:
        return time.monotonic() >= self._deadline


def _converse(
    connection: Connection, hello: Hello, at: str, timeout: _Patience
) -> Answer | None:
    """Talk at one address, in numbers; None if it stays silent.

    Waiting as told is no silence.
    """
    with open_dealer(connection, at) as dealer:
        while True:
            if not say(dealer, hello):
                return None
            seconds = timeout.left(ANSWER_SECONDS)
            answer = _receive(dealer, hello.process_token, seconds)
            while isinstance(answer, Wait):
                # It may be called in before its time is up.
                called = _receive(dealer, hello.process_token, answer.seconds)
                timeout.renew()
                if called is None:
                    break
                answer = called
            else:
                return answer


def _receive(
    dealer: zmq.Socket[bytes], process_token: str, timeout: float
) -> Answer | None:
    """The next answer that is meant for this process."""
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
def open_dealer(connection: Connection, at: str) -> Iterator[zmq.Socket[bytes]]:
    """A socket to the door, at an address in numbers, with the nodes' keys.

    The context goes too when it is closed: a fork must find no thread.
    """
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    try:
        dealer.linger = 0
        dealer.ipv6 = at.startswith("[")
        dealer.curve_serverkey = connection.server_key.encode()
        dealer.curve_publickey = connection.node_keys.public.encode()
        dealer.curve_secretkey = connection.node_keys.secret.encode()
        dealer.connect(f"tcp://{at}")
        yield dealer
    finally:
        dealer.close()
        context.term()


def say(dealer: zmq.Socket[bytes], message: Message) -> bool:
    """Send a message; False if there is nobody to send it to any more.

    Never blocks. libzmq gives a connection up for good when the other side refuses our
    key or does not speak ZMTP, as whatever took the port after the cluster; a blocking
    send would then wait for ever.
    """
    try:
        dealer.send(encode(message), zmq.DONTWAIT)
    except zmq.Again:
        return False
    return True


def _no_door(connection: Connection, tried: dict[str, str]) -> str:
    answers = "\n".join(f"    {address}: {said}" for address, said in tried.items())
    return (
        f"no way to cluster {connection.cluster} in {connection.timeout:g} s. It may"
        " be closed, a firewall may be in between, its address may be one that is not"
        " reached from here, or the connection file may be another cluster's. Tried:\n"
        f"{answers}"
    )
