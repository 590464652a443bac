"""Which of several addresses answers: asked of the kernel, for ZeroMQ would only retry.

A firewall that drops says nothing, and whoever waits for that before the next address
is tried comes 5 s late. So the next one is tried after a moment, the first not yet
given up, as browsers do (RFC 8305, "Happy Eyeballs").
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask_gridengine.net.addresses import join, split

CONNECTED = "connected"
NEXT_SECONDS = 0.25  # until the next address is tried; RFC 8305 advises this


def format_answer(error: OSError) -> str:
    """What the kernel says of an attempt that failed, as people read it."""
    if error.errno and error.errno > 0:  # else the resolver's
        return os.strerror(error.errno).lower()  # asyncio has words of its own
    return (error.strerror or str(error)).lower()


def silence(seconds: float) -> str:
    """How to tell that there was no answer."""
    return f"no answer in {seconds:.2g} s (a firewall, or no route)"


def try_connect(address: str, timeout: float) -> tuple[str, str]:
    """Try one address.

    Returns
    -------
    tuple of str
        What it answered, `CONNECTED` or a clause, and the address in numbers.
    """
    knocks = ConnectProbe([address], timeout)
    with contextlib.closing(knocks.connected()) as connected:
        at = next((at for _, at in connected), address)
    return knocks.answers()[address], at


@dataclass(kw_only=True, slots=True)
class _Attempt:
    """One address of the caller's: a name may have several in numbers."""

    address: str
    places: deque[tuple[int, Any]]  # family and socket address, still to be tried
    began: float
    deadline: float = 0.0
    sock: socket.socket | None = None
    place: Any = None
    said: str = ""  # "" while it may still answer


@dataclass
class ConnectProbe:
    """Attempts at several addresses, the likeliest first.

    Parameters
    ----------
    addresses
        ``host:port`` each; a host may be a name.
    timeout
        Seconds each has to answer.
    """

    addresses: Sequence[str]
    timeout: float
    _attempts: dict[str, _Attempt] = field(default_factory=dict, init=False)

    def answers(self) -> dict[str, str]:
        """Each address that was tried so far, and what it answered until now."""
        now = time.monotonic()
        return {
            attempt.address: attempt.said or silence(now - attempt.began)
            for attempt in self._attempts.values()
        }

    def correct(self, address: str, said: str) -> None:
        """This address accepts, but more is known of it."""
        self._attempts[address].said = said

    def connected(self) -> Generator[tuple[str, str], None, None]:
        """Addresses that accept, as they do: as they were given, and in numbers.

        Others go on being tried while the caller talks to one. To be closed, or read
        to its end.
        """
        todo = deque(self.addresses)
        with selectors.DefaultSelector() as selector:
            try:
                due = time.monotonic()
                while todo or selector.get_map():
                    if todo and (time.monotonic() >= due or not selector.get_map()):
                        self._begin(todo.popleft(), selector)
                        due = time.monotonic() + NEXT_SECONDS
                    for attempt in self._heard(selector, due if todo else None):
                        host, port = attempt.place[:2]
                        yield attempt.address, join(host, port)
            finally:
                for key in list(selector.get_map().values()):
                    key.data.sock.close()

    def _begin(self, address: str, selector: selectors.BaseSelector) -> None:
        attempt = _Attempt(address=address, places=deque(), began=time.monotonic())
        self._attempts[address] = attempt
        try:
            found = socket.getaddrinfo(*split(address), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as exc:
            attempt.said = format_answer(exc) if isinstance(exc, OSError) else str(exc)
            return
        attempt.places.extend((family, place) for family, *_, place in found)
        self._next_place(attempt, selector)

    def _next_place(
        self, attempt: _Attempt, selector: selectors.BaseSelector, said: str = ""
    ) -> None:
        while attempt.places:
            family, attempt.place = attempt.places.popleft()
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as exc:  # no IPv6 here, say
                said = format_answer(exc)
                continue
            sock.setblocking(False)
            failed = sock.connect_ex(attempt.place)
            if failed in (0, errno.EINPROGRESS):
                attempt.sock = sock
                attempt.deadline = time.monotonic() + self.timeout
                selector.register(sock, selectors.EVENT_WRITE, attempt)
                return
            sock.close()
            said = os.strerror(failed).lower()
        attempt.said = said

    def _heard(
        self, selector: selectors.BaseSelector, due: float | None
    ) -> list[_Attempt]:
        """Wait for an answer, the time of one, or until it is time for the next."""
        pending = [key.data for key in selector.get_map().values()]
        times = [attempt.deadline for attempt in pending]
        if due is not None:
            times.append(due)
        if not times:
            return []
        ready = selector.select(max(0.0, min(times) - time.monotonic()))
        answered = {key.data.address for key, _ in ready}
        now, found = time.monotonic(), []
        for attempt in pending:
            sock = attempt.sock
            if attempt.address in answered:
                failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                said = os.strerror(failed).lower() if failed else CONNECTED
            elif now >= attempt.deadline:
                said = silence(self.timeout)
            else:
                continue
            selector.unregister(sock)
            with contextlib.suppress(OSError):
                sock.close()
            if said == CONNECTED:
                attempt.said = said
                found.append(attempt)
            else:
                self._next_place(attempt, selector, said)
        return found
