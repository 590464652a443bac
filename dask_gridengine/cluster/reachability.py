"""Whether workers can be reached, by us and by each other: walls may let in one way.

Nodes that get to the scheduler become workers, and all looks well until the first
result is fetched, or data is moved between hosts: that hangs, without a word from Dask
but in a worker's log. So it is tried before.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from distributed import Scheduler
from distributed.comm import get_address_host, get_address_host_port
from distributed.core import rpc
from distributed.protocol.pickle import dumps

from dask_gridengine.net.addresses import join
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.worker.network import CONNECT_SECONDS, answer, answer_at

logger = logging.getLogger(__name__)

ADVICE = (
    "the firewall must let this host, and the nodes among each other, connect to the"
    " workers: worker_port= gives them a range that it does, worker_interface= another"
    " network"
)


@dataclass(frozen=True, kw_only=True)
class Eyes:
    """What the scheduler can see of its workers, and have them see."""

    options: Callable[[], dict[str, Any]]  # of Dask's connections
    registered: Callable[[str], bool]  # whether a worker of that address is there
    ask: Callable[[str, str], Awaitable[str]]  # (worker, other): what that answers it

    @classmethod
    def of(cls, scheduler: Callable[[], Scheduler]) -> Eyes:
        """Those of a scheduler; it may be there later."""

        async def ask(worker: str, other: str) -> str:
            # Not by the scheduler's `broadcast`, which logs whoever goes meanwhile.
            async with rpc(
                worker,
                connection_args=scheduler().connection_args,
                timeout=CONNECT_SECONDS,
            ) as at_worker:
                said = await at_worker.run(
                    function=dumps(answer_at), kwargs=dumps({"address": other})
                )
            return str(said["result"])

        return cls(
            options=lambda: dict(scheduler().connection_args),
            registered=lambda address: address in scheduler().workers,
            ask=ask,
        )


class ReachabilityChecker:
    """Tries a worker of each host, from here, and from and to the host before it.

    Not each pair of hosts, which would be too many: walls stand between networks, and
    of those some host comes after one of another.

    Parameters
    ----------
    failed
        Hosts whose workers cannot be reached, and that in a sentence; kept here.
    note
        Is told each of these, once.
    eyes
        What to look with.
    """

    def __init__(
        self, failed: dict[str, str], note: Callable[[str], None], eyes: Eyes
    ) -> None:
        self.failed = failed
        self._note, self._eyes = note, eyes
        self._looked: set[str] = set()
        self._last: tuple[str, str] | None = None  # host and worker that answered
        self._tasks: set[asyncio.Task[None]] = set()

    def look(self, host: str, address: str) -> None:
        """A worker has come; look after it if it is the first one of its host.

        Parameters
        ----------
        host
            Its name, for people.
        address
            The worker's, as the scheduler has it.
        """
        if (host in self._looked and host not in self.failed) or _local(address):
            return
        self._looked.add(host)
        task = asyncio.ensure_future(self._look(host, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop looking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _look(self, host: str, address: str) -> None:
        try:
            wrong = await self._wrong(host, address)
        except Exception:  # a worker that goes while it is asked
            logger.debug("looking after %s on %s failed", address, host, exc_info=True)
            return
        if wrong is None:
            self.failed.pop(host, None)
            return
        new, self.failed[host] = host not in self.failed, wrong
        if new:
            logger.warning("%s", wrong)
            self._note(wrong)

    async def _wrong(self, host: str, address: str) -> str | None:
        """What is wrong with the ways to this worker; None if nothing is."""
        said = await answer(address, self._eyes.options())
        if said != CONNECTED and self._eyes.registered(address):
            return _sentence(
                f"workers on {host} cannot be reached from here, so results cannot be"
                " fetched from them",
                address,
                said,
            )
        last = self._last
        self._last = host, address
        if last is None or last[0] == host:
            return None
        for (one, worker), (other, place) in (
            (last, self._last),
            (self._last, last),
        ):
            if not self._eyes.registered(worker):
                return None
            said = await self._eyes.ask(worker, place)
            if said != CONNECTED and self._eyes.registered(place):
                return _sentence(
                    f"workers on {one} cannot reach those on {other}, so data cannot be"
                    " moved between them",
                    place,
                    said,
                )
        return None


def _sentence(what: str, address: str, said: str) -> str:
    place = join(*get_address_host_port(address))
    return f"{what}: {place}: {said}\n  what to do: {ADVICE}"


def _local(address: str) -> bool:
    try:
        return ipaddress.ip_address(get_address_host(address)).is_loopback
    except ValueError:
        return False
