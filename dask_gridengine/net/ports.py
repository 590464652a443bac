"""The port options: one port, or a range in Dask's notation."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_gridengine.errors import OptionError

MAX_NAMED = 3  # processes that hold ports of a range; the others are counted


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A port, or a range of ports, both ends included.

    Examples
    --------
    >>> str(Ports(first=8786, last=8786)), str(Ports(first=9000, last=9100))
    ('8786', '9000:9100')
    """

    first: int
    last: int

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last + 1))

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __str__(self) -> str:
        return str(self.first) if len(self) == 1 else f"{self.first}:{self.last}"

    @classmethod
    def parse(cls, value: Any, option: str) -> Ports | None:
        """Parse an option's value, e.g. 8786 or "9000:9100"; None and 0 are any port.

        Raises OptionError if it is invalid.
        """
        if isinstance(value, bool):
            raise _invalid(option, value)
        if value is None or str(value) == "0":
            return None
        first, _, last = str(value).partition(":")
        try:
            ports = cls(first=int(first), last=int(last or first))
        except ValueError:
            raise _invalid(option, value) from None
        if not 1 <= ports.first <= ports.last <= 65535:
            raise _invalid(option, value)
        return ports


def is_free(host: str, port: int) -> bool:
    """Whether this process could listen there; "" is all addresses of this host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # As tornado and libzmq do: a closed connection does not occupy its port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as exc:
            return exc.errno != errno.EADDRINUSE
    return True


def none_free(option: str, ports: Ports) -> OptionError:
    """Make the error for a cluster that found no port to listen at."""
    return OptionError(
        f"{option}={str(ports)!r}: no such port is free on this host; {holders(ports)}",
        hint="close what holds it (another cluster of yours, perhaps), or set"
        f" {option}= to another port or a range, e.g."
        f" '{ports.first}:{ports.last + 10}', that the firewall lets through",
    )


def holders(ports: Ports) -> str:
    """Describe which processes listen at these ports.

    The kernel shows root every process, and users their own.
    """
    held = _holders(ports)
    texts = [f"{port} is held by {_process(held[port])}" for port in sorted(held)]
    if len(texts) > MAX_NAMED:
        texts[MAX_NAMED:] = [f"and {len(texts) - MAX_NAMED} more are held"]
    return ", ".join(texts) or "no owning process found"


def count_held(ports: Ports) -> str:
    """Describe how many are held, in words that are the same on most hosts."""
    held = _holders(ports)
    own = sum(pid is not None for pid in held.values())
    return f"{len(held)} of {len(ports)} are held, {own} by processes of yours"


def _holders(ports: Ports) -> dict[int, int | None]:
    """Find the process ids by port; None is a process of another user."""
    import psutil  # 15 ms

    found: dict[int, int | None] = {}
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr:
                port = connection.laddr.port
                if ports.first <= port <= ports.last:
                    found[port] = connection.pid
    return found


def _process(pid: int | None) -> str:
    import psutil

    if pid is None:
        return "another user's process"
    with contextlib.suppress(psutil.Error):
        command, *arguments = psutil.Process(pid).cmdline()
        return f"process {pid} ({' '.join([Path(command).name, *arguments[:2]])})"
    return f"process {pid}"


def _invalid(option: str, value: Any) -> OptionError:
    return OptionError(
        f"{option}={value!r} is not a port or a range of ports",
        hint="write a port, e.g. 8786, or a range, e.g. '9000:9100', from 1 to 65535",
    )
