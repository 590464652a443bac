"""The addresses at which other hosts may reach this one."""

from __future__ import annotations

import ipaddress
import re
import socket

from dask_gridengine.errors import OptionError

LOOPBACK = "127.0.0.1"
MAX_OFFERED = 32  # some hosts have hundreds, of containers and virtual machines


def plausible(*, interface: str | None = None, host: str | None = None) -> list[str]:
    """List the addresses to offer to nodes, the likeliest first, IPv4 before IPv6.

    The address of the default route comes first; loopback is offered only if there is
    no other. Raises OptionError if `interface` or `host` does not exist.
    """
    if host is not None:
        return [_resolve(host)]
    if interface is not None:
        return on_interface(interface)
    found = [
        address
        for addresses in _by_interface().values()
        for address in addresses
        if not ipaddress.ip_address(address).is_loopback
    ]
    preferred = _default_route_address()
    # The sort is stable: otherwise the order of the interfaces stays.
    found.sort(key=lambda address: (":" in address, address != preferred))
    return found[:MAX_OFFERED] or [LOOPBACK]


def on_interface(interface: str) -> list[str]:
    """List this host's addresses on an interface ("ib0") or network ("10.1.0.0/16").

    Names of interfaces may differ between the hosts of one network. Raises OptionError
    if there is none.
    """
    by_interface = _by_interface()
    if "/" in interface:
        network = _network(interface)
        everything = [a for some in by_interface.values() for a in some]
        found = [a for a in everything if ipaddress.ip_address(a) in network]
    else:
        found = by_interface.get(interface, [])
    if not found:
        up = ", ".join(f"{name} ({a[0]})" for name, a in by_interface.items() if a)
        raise OptionError(
            f"interface {interface!r} is not up or has no address; available: {up}",
            hint="name one of these, or a network, e.g. '10.1.0.0/16'",
        )
    return found


def _by_interface() -> dict[str, list[str]]:
    import psutil  # takes 15 ms, which nodes do not need for `join` and `split`

    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    # Leave out link-local IPv6 addresses, which hold the link's name ("%eth0").
    return {
        name: [
            a.address
            for family in (socket.AF_INET, socket.AF_INET6)
            for a in addresses
            if a.family == family and "%" not in a.address
        ]
        for name, addresses in psutil.net_if_addrs().items()
        if name in up
    }


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as exc:
        raise OptionError(f"interface {text!r} is not a network: {exc}") from exc


def _resolve(host: str) -> str:
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        return str(found[0][4][0])
    except OSError as exc:
        raise OptionError(f"host {host!r} has no address here: {exc}") from exc


def _default_route_address() -> str | None:
    """Return the source address of the kernel; connecting UDP sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))  # RFC 5737: an unused address
            return str(sock.getsockname()[0])
        except OSError:
            return None


def join(host: str, port: int) -> str:
    """Format ``host:port``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Undo `join`."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bracketed(host: str | None) -> str | None:
    """Put an IPv6 address in brackets, as Dask takes it."""
    return f"[{host}]" if host and ":" in host else host


def host_and_port(text: str, option: str) -> tuple[str, int | None]:
    """Parse an option's address; protocol and port may be missing.

    Raises OptionError if it is invalid.

    Examples
    --------
    >>> host_and_port("tls://gate:8786", "x"), host_and_port("fd00::1", "x")
    (('gate', 8786), ('fd00::1', None))
    """
    address = text.strip().rpartition("://")[2]
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?", address)
    if found is None or not 0 < int(found[2] or 1) < 2**16:
        raise OptionError(
            f"{option}={text!r} is not an address",
            hint="write 'gate.example.org', 'gate.example.org:8786' or"
            " '[fd00::1]:8786'",
        )
    return found[1].strip("[]"), int(found[2]) if found[2] else None
