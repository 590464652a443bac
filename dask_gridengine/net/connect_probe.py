"""Find the addresses that accept connections, as browsers do.

ZeroMQ only retries, and a firewall that drops packets gives no answer. So each next
address is tried after a moment, while the first is still pending (RFC 8305, "Happy
Eyeballs").
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
NEXT_SECONDS = 0.25  # until the next address is tried; RFC 8305 recommends this


def format_error(error: OSError) -> str:
    """Format the kernel's reason why an attempt failed."""
    if error.errno and error.errno > 0:  # negative numbers are the resolver's
        return os.strerror(error.errno).lower()  # asyncio has other texts
    return (error.strerror or str(error)).lower()


def no_answer(seconds: float) -> str:
    """Format the result of an attempt that timed out."""
    return f"no answer in {seconds:.2g} s (a firewall, or no route)"


def try_connect(address: str, timeout: float) -> tuple[str, str]:
    """Try one address; return its result (`CONNECTED` or a clause) and numeric form."""
    probe = ConnectProbe([address], timeout)
    with contextlib.closing(probe.connected()) as connected:
        numeric = next((numeric for _, numeric in connected), address)
    return probe.results()[address], numeric


@dataclass(kw_only=True, slots=True)
class _Attempt:
    """An address of the caller; a name may stand for several numeric ones."""

    address: str
    targets: deque[tuple[int, Any]]  # family and socket address, still to be tried
    began: float
    deadline: float = 0.0
    sock: socket.socket | None = None
    target: Any = None
    result: str = ""  # "" while it is pending


@dataclass
class ConnectProbe:
    """Attempts at several ``host:port``, with `timeout` seconds for each to answer."""

    addresses: Sequence[str]
    timeout: float
    _attempts: dict[str, _Attempt] = field(default_factory=dict, init=False)

    def results(self) -> dict[str, str]:
        """Return each address that was tried so far, with its result until now."""
        now = time.monotonic()
        return {
            attempt.address: attempt.result or no_answer(now - attempt.began)
            for attempt in self._attempts.values()
        }

    def correct(self, address: str, result: str) -> None:
        """Replace the result of an address that accepted, when more is known."""
        self._attempts[address].result = result

    def connected(self) -> Generator[tuple[str, str], None, None]:
        """Yield each address that accepts, as given and in numeric form.

        The others are tried meanwhile. Close the generator, or read it to its end.
        """
        todo = deque(self.addresses)
        with selectors.DefaultSelector() as selector:
            try:
                due = time.monotonic()
                while todo or selector.get_map():
                    if todo and (time.monotonic() >= due or not selector.get_map()):
                        self._begin(todo.popleft(), selector)
                        due = time.monotonic() + NEXT_SECONDS
                    for attempt in self._wait(selector, due if todo else None):
                        host, port = attempt.target[:2]
                        yield attempt.address, join(host, port)
            finally:
                for key in list(selector.get_map().values()):
                    key.data.sock.close()

    def _begin(self, address: str, selector: selectors.BaseSelector) -> None:
        attempt = _Attempt(address=address, targets=deque(), began=time.monotonic())
        self._attempts[address] = attempt
        try:
            found = socket.getaddrinfo(*split(address), type=socket.SOCK_STREAM)
        except OSError as exc:
            attempt.result = format_error(exc)
        except ValueError as exc:
            attempt.result = str(exc)
        else:
            attempt.targets.extend((family, target) for family, *_, target in found)
            self._try_next(attempt, selector)

    def _try_next(
        self, attempt: _Attempt, selector: selectors.BaseSelector, result: str = ""
    ) -> None:
        """Connect to the next numeric address; without one the result is final."""
        while attempt.targets:
            family, attempt.target = attempt.targets.popleft()
            try:
                sock = socket.socket(family, socket.SOCK_STREAM)
            except OSError as exc:  # e.g. no IPv6 here
                result = format_error(exc)
                continue
            sock.setblocking(False)
            failed = sock.connect_ex(attempt.target)
            if failed in (0, errno.EINPROGRESS):
                attempt.sock = sock
                attempt.deadline = time.monotonic() + self.timeout
                selector.register(sock, selectors.EVENT_WRITE, attempt)
                return
            sock.close()
            result = os.strerror(failed).lower()
        attempt.result = result

    def _wait(
        self, selector: selectors.BaseSelector, due: float | None
    ) -> list[_Attempt]:
        """Wait for an answer, a deadline or `due`; return attempts that connected."""
        pending = [key.data for key in selector.get_map().values()]
        times = [attempt.deadline for attempt in pending]
        if due is not None:
            times.append(due)
        if not times:
            return []
        ready = selector.select(max(0.0, min(times) - time.monotonic()))
        answered = {key.data.address for key, _ in ready}
        now, connected = time.monotonic(), []
        for attempt in pending:
            sock = attempt.sock
            if attempt.address in answered:
                failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                result = os.strerror(failed).lower() if failed else CONNECTED
            elif now >= attempt.deadline:
                result = no_answer(self.timeout)
            else:
                continue
            selector.unregister(sock)
            with contextlib.suppress(OSError):
                sock.close()
            if result == CONNECTED:
                attempt.result = result
                connected.append(attempt)
            else:
                self._try_next(attempt, selector, result)
        return connected
