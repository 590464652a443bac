"""Ports that a site's firewall lets through: one, or a range in Dask's own notation."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dask_gridengine.errors import OptionError

HOLDERS_NAMED = 3  # of a range; the others are counted


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A port, or several in a row, both ends included.

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
        """Read an option's value.

        Parameters
        ----------
        value
            8786, "8786" or "9000:9100", as `distributed.Worker` takes them; None and 0
            are any port.
        option
            Its name, for the message.

        Raises
        ------
        OptionError
            If these are no ports.
        """
        if isinstance(value, bool):
            raise _no_ports(option, value)
        if value is None or str(value) == "0":
            return None
        first, _, last = str(value).partition(":")
        try:
            ports = cls(first=int(first), last=int(last or first))
        except ValueError:
            raise _no_ports(option, value) from None
        if not 1 <= ports.first <= ports.last <= 65535:
            raise _no_ports(option, value)
        return ports


def is_free(host: str, port: int) -> bool:
    """Whether one could listen there now; "" for all addresses of this host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        # As tornado and libzmq do: a connection that was closed keeps nobody out.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as exc:
            return exc.errno != errno.EADDRINUSE
    return True


def none_free(option: str, ports: Ports) -> OptionError:
    """The error for a cluster that found no port to listen at."""
    return OptionError(
        f"{option}={str(ports)!r}: no such port is free on this host;"
        f" {who_holds(ports)}\n"
        "  what to do: close what holds it (another cluster of yours, perhaps), or"
        f" give {option}= another port or a range, as"
        f" '{ports.first}:{ports.last + 10}', that the firewall lets through"
    )


def who_holds(ports: Ports) -> str:
    """Whose processes listen at these ports, as far as one may know.

    The kernel tells root of everybody's, and others of their own.
    """
    held = _holders(ports)
    told = [f"{port} is held by {_process(held[port])}" for port in sorted(held)]
    if len(told) > HOLDERS_NAMED:
        told[HOLDERS_NAMED:] = [f"and {len(told) - HOLDERS_NAMED} more are held"]
    return ", ".join(told) or "nobody can be seen to hold it"


def how_many_held(ports: Ports) -> str:
    """The same without a number that is another one on each host."""
    held = _holders(ports)
    ours = sum(pid is not None for pid in held.values())
    return f"{len(held)} of {len(ports)} are held, {ours} by processes of yours"


def _holders(ports: Ports) -> dict[int, int | None]:
    """Process ids by port; None is somebody else's."""
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
        return "somebody else's process"
    with contextlib.suppress(psutil.Error):
        command, *arguments = psutil.Process(pid).cmdline()
        return f"process {pid} ({' '.join([Path(command).name, *arguments[:2]])})"
    return f"process {pid}"


def _no_ports(option: str, value: Any) -> OptionError:
    return OptionError(
        f"{option}={value!r}; it is a port, e.g. 8786, or a range as '9000:9100', from"
        " 1 to 65535"
    )
