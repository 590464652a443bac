"""Where a cluster listens, and where its nodes are told that it does.

These differ where a host has several networks, or where something between it and the
nodes translates addresses (NAT).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

EVERYWHERE, EVERYWHERE_6 = "0.0.0.0", "::"  # the latter takes IPv4, too


def listen_at(options: Options, kind: str) -> str | None:
    """The one address to listen at; None is all of this host's.

    Parameters
    ----------
    options
        What the user asked for.
    kind
        The launcher's. Local processes need no network, so a laptop opens no port to
        it; unless they are to come by an address that leads through one.
    """
    if options.host or options.interface:
        return plausible(interface=options.interface, host=options.host)[0]
    return LOOPBACK if kind == "process" and not options.contact_address else None


def doors(host: str | None) -> tuple[str, list[str]]:
    """Where the door listens, and where it may be reached if nothing is between.

    Parameters
    ----------
    host
        As `listen_at` says.
    """
    if host is not None:
        return host, [host]
    offered = plausible()
    six = any(":" in address for address in offered)
    return EVERYWHERE_6 if six else EVERYWHERE, offered


def offers(options: Options, hosts: list[str], port: int) -> tuple[str, ...]:
    """``host:port`` of the door for the nodes to try, the likeliest first.

    Parameters
    ----------
    options
        What the user asked for.
    hosts
        As `doors` says.
    port
        Where the door listens.
    """
    if options.contact_address:  # whose port is the scheduler's
        told, _ = host_and_port(options.contact_address, "contact_address")
        return (join(told, port),)
    return tuple(join(host, port) for host in hosts)


def contact(options: Options, scheduler: Scheduler, via: str) -> str:
    """The scheduler's address for a node that reached the door at `via`.

    The scheduler listens where the door does, so what led to one leads to both.
    """
    protocol, _, address = str(scheduler.address).partition("://")
    port = split(address)[1]
    if options.contact_address:
        host, outside = host_and_port(options.contact_address, "contact_address")
        return f"{protocol}://{join(host, outside or port)}"
    if scheduler.contact_address:  # Dask's own option; its clients here take it, too
        return str(scheduler.contact_address)
    return f"{protocol}://{join(split(via)[0], port)}"


def dashboard_address(options: Options) -> str:
    """Where the dashboard listens: at the first port that is free.

    If none is, Dask takes any other and warns. A dashboard is no reason not to start.
    """
    ports = options.dashboard_port
    if ports is None:
        return ":8787"
    return f":{next((port for port in ports if is_free('', port)), ports.first)}"
