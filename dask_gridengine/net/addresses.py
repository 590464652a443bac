"""At which addresses this host may be reached, the likeliest first."""

from __future__ import annotations

import ipaddress
import re
import socket

from dask_gridengine.errors import OptionError

LOOPBACK = "127.0.0.1"
MOST = 32  # offered; some hosts have hundreds, of containers and machines in them


def plausible(*, interface: str | None = None, host: str | None = None) -> list[str]:
    """Addresses to offer to nodes, `MOST` at most; IPv4 before IPv6.

    Parameters
    ----------
    interface
        Offer only this network interface's, e.g. ``"ib0"``; see `on_interface`.
    host
        Offer only this address or name.

    Returns
    -------
    list of str
        The address towards the default route first, then the other interfaces';
        loopback only where there is nothing else.

    Raises
    ------
    OptionError
        If there is no such interface, or `host` is not a name of this network.
    """
    if host is not None:
        return [_resolve(host)]
    if interface is not None:
        return on_interface(interface)
    outside = [a for some in _by_interface().values() for a in some if _outside(a)]
    preferred = _towards_default_route()
    # Stable: only one moves, and those of IPv6 behind the others.
    outside.sort(key=lambda address: (":" in address, address != preferred))
    return outside[:MOST] or [LOOPBACK]


def on_interface(interface: str) -> list[str]:
    """This host's addresses on a network, IPv4 before IPv6.

    Parameters
    ----------
    interface
        Name of an interface (``"ib0"``), or a network (``"10.1.0.0/16"``): names may
        differ between hosts where the network does not.

    Raises
    ------
    OptionError
        If there is none; the message lists what there is.
    """
    by_interface = _by_interface()
    if "/" in interface:
        network = _network(interface)
        everything = [a for some in by_interface.values() for a in some]
        found = [a for a in everything if ipaddress.ip_address(a) in network]
    else:
        found = by_interface.get(interface, [])
    if not found:
        there = ", ".join(
            f"{name} ({some[0]})" for name, some in by_interface.items() if some
        )
        raise OptionError(
            f"interface {interface!r} is not up or has no address here; there are:"
            f" {there}; a network, as '10.1.0.0/16', will do, too"
        )
    return found


def _by_interface() -> dict[str, list[str]]:
    import psutil  # 15 ms a node, which needs only `join` and `split`, does without

    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    # Without those of IPv6 that are good on one link only, and named by it ("%eth0").
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


def _outside(address: str) -> bool:
    return not ipaddress.ip_address(address).is_loopback


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as exc:
        raise OptionError(f"interface {text!r} is no network: {exc}") from exc


def _resolve(host: str) -> str:
    try:
        place = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
        return str(place[0][4][0])
    except OSError as exc:
        raise OptionError(f"host {host!r} has no address here: {exc}") from exc


def _towards_default_route() -> str | None:
    """The source address the kernel would use; connecting UDP sends no packet."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("198.51.100.1", 9))  # RFC 5737: an address nobody has
            return str(sock.getsockname()[0])
        except OSError:
            return None


def join(host: str, port: int) -> str:
    """``host:port``, with the brackets an IPv6 address needs.

    Examples
    --------
    >>> join("10.0.0.5", 8786), join("::1", 8786)
    ('10.0.0.5:8786', '[::1]:8786')
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """Undo `join`.

    Examples
    --------
    >>> split("[::1]:8786")
    ('::1', 8786)
    """
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bracketed(host: str | None) -> str | None:
    """A host as Dask takes it: an address of IPv6 in brackets.

    Examples
    --------
    >>> bracketed("::1"), bracketed("login1")
    ('[::1]', 'login1')
    """
    return f"[{host}]" if host and ":" in host else host


def host_and_port(text: str, option: str) -> tuple[str, int | None]:
    """Read an address in which the port may be missing, and a protocol is passed over.

    Parameters
    ----------
    text
        ``host``, ``host:port``, ``[::1]:port``, or one of these after ``tls://``.
    option
        Whose value that is, for the message.

    Raises
    ------
    OptionError
        If it is none of these.

    Examples
    --------
    >>> host_and_port("tls://gate:8786", "x"), host_and_port("fd00::1", "x")
    (('gate', 8786), ('fd00::1', None))
    """
    place = text.strip().rpartition("://")[2]
    if place.count(":") > 1 and not place.startswith("["):
        place = f"[{place}]"
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::(\d{1,5}))?", place)
    if found is None or not 0 < int(found[2] or 1) < 2**16:
        raise OptionError(
            f"{option}={text!r} is no address; write 'gate.example.org',"
            " 'gate.example.org:8786' or '[fd00::1]:8786'"
        )
    return found[1].strip("[]"), int(found[2]) if found[2] else None
