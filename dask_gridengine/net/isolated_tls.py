"""TLS connections that are not affected by the errors of other connections.

OpenSSL has a queue of errors for each thread, and reads there why a read or write
returned nothing. CPython 3.12.9, 3.13.2 and later do not remove errors of the operating
system from it (https://github.com/python/cpython/issues/148594), and newer versions of
OpenSSL add more of them. Once a peer has closed its connection early, each connection
of the same thread that has to wait for data fails with `BrokenPipeError`, and Tornado
closes it. A Nanny closes a connection early at each start.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from distributed.security import Security

P = ParamSpec("P")
T = TypeVar("T")


def isolated(security: Security) -> Security:
    """Wrap a security so that its connections ignore the errors of others.

    Used on every Python: which ones are affected also depends on the OpenSSL at run
    time, and a test of that takes longer than this costs. Without errors it adds one
    call in Python to each read and write.
    """
    return _IsolatedSecurity(security)


class _IsolatedSecurity(Security):  # type: ignore[misc]
    """A copy of a `Security`, which lets the original make the TLS contexts.

    The original may be of a subclass that overrides these methods.
    """

    def __init__(self, original: Security) -> None:
        super().__init__(
            **{field: getattr(original, field) for field in Security.__slots__}
        )
        self._original = original

    def get_connection_args(self, role: str) -> dict[str, Any]:
        """Wrap the arguments of the original."""
        return _with_isolated_sockets(self._original.get_connection_args(role))

    def get_listen_args(self, role: str) -> dict[str, Any]:
        """Wrap the arguments of the original."""
        return _with_isolated_sockets(self._original.get_listen_args(role))


def _with_isolated_sockets(arguments: dict[str, Any]) -> dict[str, Any]:
    context = arguments.get("ssl_context")
    if isinstance(context, ssl.SSLContext):
        context.sslsocket_class = _IsolatedSocket
    return arguments


class _IsolatedSocket(ssl.SSLSocket):
    """A non-blocking TLS socket that neither leaves nor reads errors of its thread.

    Tornado calls `recv_into`, which is `read`, and the other two.
    """

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class."""
        return _with_own_errors(super().read, *args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """As the base class."""
        return _with_own_errors(super().send, *args, **kwargs)

    def do_handshake(self, *args: Any, **kwargs: Any) -> None:
        """As the base class. OpenSSL itself empties the queue before a handshake."""
        try:
            super().do_handshake(*args, **kwargs)
        except ssl.SSLError:
            raise
        except OSError:
            _empty_error_queue()
            raise


def _with_own_errors(transfer: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Read or write as if no other connection had failed before."""
    try:
        return transfer(*args, **kwargs)
    except ssl.SSLError:
        raise  # `ssl` has emptied the queue
    except OSError:
        _empty_error_queue()
        # The error may be another connection's: then nothing has been transferred, and
        # OpenSSL allows to repeat the call. An error of this connection recurs.
        try:
            if transferred := transfer(*args, **kwargs):
                return transferred
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            _empty_error_queue()
        raise


def _empty_error_queue() -> None:
    """Empty OpenSSL's queue of this thread, as the start of any handshake does."""
    nothing, nowhere = ssl.MemoryBIO(), ssl.MemoryBIO()
    handshake = _context().wrap_bio(nothing, nowhere, server_side=True)
    with contextlib.suppress(ssl.SSLWantReadError):  # no client answers
        handshake.do_handshake()


@cache
def _context() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
