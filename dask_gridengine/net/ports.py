"""The port options: one port, or a range in Dask's notation."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dask_gridengine.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Ports:
    """A port, or a range of ports, both ends included."""

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


def free_ports(host: str, ports: Ports, option: str) -> Iterator[int]:
    """Yield free ports of a range; another program may take one before the caller does.

    Raises OptionError after the last one.
    """
    yield from (port for port in ports if is_free(host, port))
    raise OptionError(
        f"{option}={str(ports)!r}: no such port is free on this host",
        hint=f"close what holds it (ss -ltnp 'sport = :{ports.first}' shows it; perhaps"
        f" another cluster of yours), or set {option}= to another port or a range, e.g."
        f" '{ports.first}:{ports.last + 10}', that the firewall lets through",
    )


def _invalid(option: str, value: Any) -> OptionError:
    return OptionError(
        f"{option}={value!r} is not a port or a range of ports",
        hint="write a port, e.g. 8786, or a range, e.g. '9000:9100', from 1 to 65535",
    )
