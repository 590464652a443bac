"""Whether the workers can be reached from here, too: a firewall may let in one way.

Nodes that get to the scheduler become workers, and all looks well until the first
result is fetched: that hangs, without a word from Dask. So it is tried before.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from typing import Any

from distributed.comm import get_address_host, get_address_host_port

from dask_gridengine.addresses import join
from dask_gridengine.knocking import CONNECTED
from dask_gridengine.reaching import meets, probe

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0  # for a worker to answer: its host may be busy with others

ADVICE = (
    "the firewall must let this host, and the nodes among each other, connect to the"
    " workers: worker_port= gives them a range that it does, worker_interface= another"
    " network"
)


class WayBack:
    """Tries, once for each host, to connect to a worker of it.

    Parameters
    ----------
    failed
        Hosts whose workers cannot be reached, and that in a sentence; kept here.
    note
        Is told each of these, once.
    """

    def __init__(self, failed: dict[str, str], note: Callable[[str], None]) -> None:
        self.failed = failed
        self._note = note
        self._looked: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, host: str, address: str, options: dict[str, Any]) -> None:
        """A worker has come; look after it if it is the first one of its host.

        Parameters
        ----------
        host
            Its name, for people.
        address
            The worker's, as the scheduler has it.
        options
            Of Dask's connections, with its TLS.
        """
        if (host in self._looked and host not in self.failed) or _local(address):
            return
        self._looked.add(host)
        task = asyncio.ensure_future(self._look(host, address, options))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, host: str, address: str, options: dict[str, Any]) -> None:
        if await meets(address, options, CONNECT_SECONDS):
            self.failed.pop(host, None)
            return
        place = get_address_host_port(address)
        said = await probe(*place)
        if said == CONNECTED:
            return  # it is busy, or was on its way out
        new = host not in self.failed
        self.failed[host] = (
            f"workers on {host} cannot be reached from here, so results cannot be"
            f" fetched from them: {join(*place)}: {said}\n  what to do: {ADVICE}"
        )
        if new:
            logger.warning("%s", self.failed[host])
            self._note(self.failed[host])


def _local(address: str) -> bool:
    try:
        return ipaddress.ip_address(get_address_host(address)).is_loopback
    except ValueError:
        return False
