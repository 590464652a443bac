"""The addresses at which a cluster listens, and those at which nodes contact it.

They differ where a host has several networks, and behind NAT.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from dask_gridengine.errors import OptionError
from dask_gridengine.net.addresses import (
    LOOPBACK,
    host_and_port,
    join,
    plausible,
    split,
)
from dask_gridengine.net.ports import is_free
from dask_gridengine.options import Options

if TYPE_CHECKING:
    from distributed import Scheduler

ALL_IPV4, ALL_ADDRESSES = "0.0.0.0", "::"  # the latter includes IPv4


def listen_at(options: Options, kind: str) -> str | None:
    """Return the one address to listen at; None is all of this host's.

    Local processes (launcher kind "process") need no network, so a laptop opens no port
    to it, unless a contact address leads through one.
    """
    if options.host or options.interface:
        found = plausible(interface=options.interface, host=options.host)[0]
        nat = options.contact_address
        if kind == "drmaa" and not nat and ipaddress.ip_address(found).is_loopback:
            option = "host" if options.host else "interface"
            value = options.host or options.interface
            raise OptionError(
                f"{option}={value!r} is {found}, which no other host reaches",
                hint=f"name the network that the nodes reach, or leave out {option}=",
            )
        return found
    return LOOPBACK if kind == "process" and not options.contact_address else None


def bootstrap_hosts(host: str | None) -> tuple[str, list[str]]:
    """Return the address to bind for the result of `listen_at`, and those to offer."""
    if host is not None:
        return host, [host]
    offered = plausible()
    has_ipv6 = any(":" in address for address in offered)
    return ALL_ADDRESSES if has_ipv6 else ALL_IPV4, offered


def bootstrap_addresses(
    options: Options, hosts: list[str], port: int
) -> tuple[str, ...]:
    """Return the ``host:port`` that nodes try, the likeliest first."""
    if options.contact_address:  # its port is the scheduler's
        host, _ = host_and_port(options.contact_address, "contact_address")
        return (join(host, port),)
    return tuple(join(host, port) for host in hosts)


def contact(options: Options, scheduler: Scheduler, via: str) -> str:
    """Return the scheduler's address for a node that reached the cluster at `via`.

    The scheduler listens at the same hosts as the bootstrap server.
    """
    protocol, _, address = str(scheduler.address).partition("://")
    port = split(address)[1]
    if options.contact_address:
        host, outer_port = host_and_port(options.contact_address, "contact_address")
        return f"{protocol}://{join(host, outer_port or port)}"
    if scheduler.contact_address:  # Dask's option, which local clients use, too
        return str(scheduler.contact_address)
    return f"{protocol}://{join(split(via)[0], port)}"


def dashboard_address(options: Options) -> str:
    """Return the dashboard's address, with the first free port.

    If none is free, Dask takes any other and warns: a cluster starts all the same.
    """
    ports = options.dashboard_port
    if ports is None:
        return ":8787"
    return f":{next((port for port in ports if is_free('', port)), ports.first)}"
