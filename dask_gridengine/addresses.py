"""At which addresses this host may be reached, the likeliest first."""

from __future__ import annotations

import socket

from dask_gridengine.errors import OptionError

LOOPBACK = "127.0.0.1"


def plausible(*, interface: str | None = None, host: str | None = None) -> list[str]:
    """Addresses to offer to nodes; IPv4 unless `host` is an IPv6 address.

    Parameters
    ----------
    interface
        Offer only this network interface's, e.g. ``"ib0"``.
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
    by_interface = _by_interface()
    if interface is not None:
        if not by_interface.get(interface):
            there = ", ".join(name for name, found in by_interface.items() if found)
            raise OptionError(
                f"interface {interface!r} is not up or has no IPv4 address here;"
                f" there are: {there}"
            )
        return by_interface[interface]
    found = [address for some in by_interface.values() for address in some]
    outside = [address for address in found if not address.startswith("127.")]
    preferred = _towards_default_route()
    outside.sort(key=lambda address: address != preferred)  # stable: only one moves
    return outside or [LOOPBACK]


def _by_interface() -> dict[str, list[str]]:
    import psutil  # 15 ms a node, which needs only `join` and `split`, does without

    up = {name for name, stats in psutil.net_if_stats().items() if stats.isup}
    return {
        name: [a.address for a in addresses if a.family == socket.AF_INET]
        for name, addresses in psutil.net_if_addrs().items()
        if name in up
    }


def _resolve(host: str) -> str:
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
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
