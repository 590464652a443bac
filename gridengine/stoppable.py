"""Lanes whose flights can be ended by force, with the worker process they are in."""

from __future__ import annotations

import contextlib

from distributed import Queue

from gridengine.lanes import Flight, Landing, Lanes


class StoppableLanes(Lanes):
    """As `Lanes`, for tasks that need a ticket to begin; they can be ended."""

    def stop(
        self, flight: Flight, reason: BaseException, ticket: Queue, *, by_force: bool
    ) -> None:
        """End a flight; it lands with `reason` when it has ended. Returns at once.

        Parameters
        ----------
        flight
            Which.
        reason
            What its landing tells.
        ticket
            A queue with one thing in it, which the task takes before it begins.
        by_force
            Whether to end the worker process that is at it. Otherwise a task that has
            begun is only forgotten.
        """
        self._client.loop.add_callback(self._stop, flight, reason, ticket, by_force)

    async def _stop(
        self, flight: Flight, reason: BaseException, ticket: Queue, by_force: bool
    ) -> None:
        try:
            # A cluster that closes ends it too, and does not answer.
            with contextlib.suppress(Exception):
                # Whoever takes the ticket decides: the task here, or the one there.
                has_begun = not await ticket.get(batch=True, asynchronous=True)
                address = await self._worker_of(flight) if has_begun else None
                await self._call_back({flight})
                if address is not None and by_force:
                    await self.end_workers([address])
        finally:
            self._landed.put(Landing(flight, None, reason))

    async def _worker_of(self, flight: Flight) -> str | None:
        """Address of the worker that runs it; None if it has just ended."""
        assert flight.future is not None
        processing = await self._client.scheduler.processing(workers=None)
        for address, keys in processing.items():
            if flight.future.key in keys:
                return str(address)
        return None
