"""Nannies of a cluster, which take a moment longer to be up than their workers."""

from __future__ import annotations

from distributed import Client, Nanny

from tests.waiting import wait_until


def watched(client: Client, count: int, timeout: float = 20) -> None:
    """Wait until so many workers are there and their Nannies know it.

    A worker that dies before that takes its node along, as one that could not start.
    """

    def state(dask_worker: Nanny) -> str:
        return str(dask_worker.status.name)

    def states() -> list[str]:
        return list(client.run(state, nanny=True, on_error="ignore").values())

    wait_until(
        lambda: states() == ["running"] * count, f"{count} Nannies run", timeout, states
    )
