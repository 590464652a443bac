"""TLS connections and the errors of others, with real sockets in one thread."""

from __future__ import annotations

import contextlib
import pickle
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed.security import Security

from dask_gridengine.net.isolated_tls import isolated

Pair = tuple[ssl.SSLSocket, ssl.SSLSocket]


@pytest.fixture(scope="module")
def plain() -> Security:
    """One as a user makes it."""
    return Security.temporary()


@pytest.fixture(autouse=True)
def empty_queue() -> Iterator[None]:
    """Leave no error in this thread: the tests' other connections would fail."""
    yield
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    unconnected = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        unconnected.do_handshake()


@contextlib.contextmanager
def connected(security: Security) -> Iterator[Pair]:
    """Both ends of a new connection that has nothing to read."""
    listening = security.get_listen_args("scheduler")["ssl_context"]
    connecting = security.get_connection_args("worker")["ssl_context"]
    options = {"do_handshake_on_connect": False}
    one, other = socket.socketpair()
    with one, other:
        for sock in (one, other):
            sock.setblocking(False)
        with (
            listening.wrap_socket(one, server_side=True, **options) as server,
            connecting.wrap_socket(other, **options) as client,
        ):
            for end in (client, server, client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    end.do_handshake()
            # Session tickets. A socket pair delivers at once.
            with pytest.raises(ssl.SSLWantReadError):
                client.recv(1)
            yield server, client


def read_broken(server: ssl.SSLSocket) -> None:
    """Read from a peer that has closed: the alert to it cannot be sent."""
    with contextlib.suppress(OSError):
        assert server.recv(1) == b""


def write_broken(server: ssl.SSLSocket) -> None:
    """What is sent to a peer that has closed cannot arrive."""
    with pytest.raises((BrokenPipeError, ssl.SSLError)):
        server.send(b"anything")


BROKEN = pytest.mark.parametrize("broken", [read_broken, write_broken])


def break_one(security: Security, broken: Callable[[ssl.SSLSocket], None]) -> None:
    """A connection whose peer closes it early, and what its other end does then."""
    with connected(security) as (server, client):
        client.close()
        broken(server)


def assert_works(pair: Pair) -> None:
    """It waits where there is nothing to read, or no room to write, and delivers."""
    server, client = pair
    for sender, receiver in [(server, client), (client, server)]:
        with pytest.raises(ssl.SSLWantReadError):
            receiver.recv(1)
        sender.sendall(b"hello")
        assert receiver.recv(5) == b"hello"
        with pytest.raises(ssl.SSLWantReadError):
            receiver.recv(1)
    sent = filled(server)
    while sent:
        sent -= len(client.recv(min(sent, 65536)))


def filled(sender: ssl.SSLSocket) -> int:
    """How many bytes went out before it had to wait for room."""
    sent = 0
    while True:
        try:
            sent += sender.send(bytes(16384))
        except ssl.SSLWantWriteError:
            return sent


@BROKEN
def test_a_broken_connection_does_not_disturb_others(
    plain: Security, broken: Callable[[ssl.SSLSocket], None]
) -> None:
    """Connections of anything else in the thread go on, protected or not."""
    for others in (plain, isolated(plain)):
        with connected(others) as pair:
            break_one(isolated(plain), broken)
            assert_works(pair)


@BROKEN
def test_no_other_connection_that_broke_disturbs_it(
    plain: Security, broken: Callable[[ssl.SSLSocket], None]
) -> None:
    """Whatever else uses TLS in the thread, protected connections go on."""
    with connected(isolated(plain)) as pair:
        break_one(plain, broken)
        assert_works(pair)


@BROKEN
def test_without_protection_others_are_disturbed(
    plain: Security, broken: Callable[[ssl.SSLSocket], None]
) -> None:
    """The reason for all this; once it is skipped on all Pythons it can go."""
    with connected(plain) as (_, client):
        break_one(plain, broken)
        try:
            with pytest.raises(ssl.SSLWantReadError):
                client.recv(1)
        except BrokenPipeError:
            return
    version = sys.version.partition(" ")[0]
    pytest.skip(f"not affected: Python {version} with {ssl.OPENSSL_VERSION}")


def test_its_own_errors_are_raised(plain: Security) -> None:
    """A connection whose peer has gone ends, as any other does."""
    with connected(isolated(plain)) as (server, client):
        client.close()
        read_broken(server)
        for _ in range(2):
            write_broken(server)


def test_a_copy_in_another_process_protects_too(plain: Security) -> None:
    """Nannies send theirs to workers that they spawn."""
    copy = pickle.loads(pickle.dumps(isolated(plain)))
    with connected(copy) as pair:
        break_one(plain, read_broken)
        assert_works(pair)


def test_it_is_the_same_security(plain: Security) -> None:
    """All that a user has set is there, and is shown."""
    protected = isolated(plain)
    for field in Security.__slots__:
        assert getattr(protected, field) == getattr(plain, field)
    assert repr(protected) == repr(plain)
    assert isolated(Security()).get_listen_args("worker")["ssl_context"] is None


class OneMore(Security):  # type: ignore[misc]
    """A site's own kind."""

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """With an argument of the site."""
        return {**super().get_connection_args(role), "more": role}


def test_methods_of_a_users_own_class_are_used() -> None:
    """A subclass may have connections made in its own way."""
    args = isolated(OneMore()).get_connection_args("client")
    assert args["more"] == "client"
