"""Check whether workers can be reached from here, and from each other.

A firewall may let connections through in one direction only. Nodes that reach the
scheduler become workers then, and all seems well until the first result is fetched or
data is moved between hosts: that hangs, and Dask reports it only in a worker's log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable

from distributed import Scheduler
from distributed.comm import get_address_host, get_address_host_port
from distributed.core import rpc
from distributed.protocol.pickle import dumps

from dask_gridengine.errors import with_hint
from dask_gridengine.net.addresses import join
from dask_gridengine.net.connect_probe import CONNECTED
from dask_gridengine.worker.network import CONNECT_SECONDS, answer, answer_at

logger = logging.getLogger(__name__)

ADVICE = (
    "the firewall must let this host, and the nodes among each other, connect to the"
    " workers: worker_port= gives them a range that it does, worker_interface= another"
    " network"
)


class ReachabilityChecker:
    """Checks a worker of each host, from here, and from and to the host before it.

    Not each pair of hosts, which would be too many: firewalls stand between networks,
    so that some host of one comes after one of another.

    New findings go to `note`. `ask` asks a worker what another one answers it; tests
    give their own.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        note: Callable[[str], None],
        *,
        ask: Callable[[Scheduler, str, str], Awaitable[str]] | None = None,
    ) -> None:
        #: Hosts whose workers cannot be reached at present, and why.
        self.failed: dict[str, str] = {}
        self._ask = ask or answer_from
        self._note, self._scheduler = note, scheduler
        self._checked: set[str] = set()
        self._last: tuple[str, str] | None = None  # host and worker that answered
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def check(self, host: str, address: str) -> None:
        """Check a worker that has registered, if it is the first one of its host."""
        is_known = host in self._checked and host not in self.failed
        if self._closed or is_known or _local(address):
            return  # workers may register until the scheduler has closed
        self._checked.add(host)
        task = asyncio.ensure_future(self._check(host, address))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Stop checking."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _check(self, host: str, address: str) -> None:
        try:
            wrong = await self._failure(host, address)
        except Exception:  # a worker that ends meanwhile
            logger.debug("Checking %s on %s failed", address, host, exc_info=True)
            return
        if wrong is None:
            self.failed.pop(host, None)
            return
        new, self.failed[host] = host not in self.failed, wrong
        if new:
            logger.warning("%s", wrong)
            self._note(wrong)

    async def _failure(self, host: str, address: str) -> str | None:
        """Which connection to or from this worker fails, and how; None if none does."""
        reply = await answer(address, dict(self._scheduler.connection_args))
        if reply != CONNECTED and self._registered(address):
            return _sentence(
                f"workers on {host} cannot be reached from here, so results cannot be"
                " fetched from them",
                address,
                reply,
            )
        last, self._last = self._last, (host, address)
        if last is None or last[0] == host:
            return None
        pairs = ((last, self._last), (self._last, last))
        for (one, worker), (other, target) in pairs:
            if not self._registered(worker):
                return None
            reply = await self._ask(self._scheduler, worker, target)
            if reply != CONNECTED and self._registered(target):
                return _sentence(
                    f"workers on {one} cannot reach those on {other}, so data cannot be"
                    " moved between them",
                    target,
                    reply,
                )
        return None

    def _registered(self, address: str) -> bool:
        return address in self._scheduler.workers


async def answer_from(scheduler: Scheduler, worker: str, target: str) -> str:
    """What a worker gets when it connects to another."""
    # Not the scheduler's `broadcast`, which logs workers that end meanwhile.
    async with rpc(
        worker, connection_args=scheduler.connection_args, timeout=CONNECT_SECONDS
    ) as at_worker:
        reply = await at_worker.run(
            function=dumps(answer_at), kwargs=dumps({"address": target})
        )
    return str(reply["result"])


def _sentence(what: str, address: str, reply: str) -> str:
    place = join(*get_address_host_port(address))
    return with_hint(f"{what}: {place}: {reply}", ADVICE)


def _local(address: str) -> bool:
    try:
        return ipaddress.ip_address(get_address_host(address)).is_loopback
    except ValueError:
        return False
