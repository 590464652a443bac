"""The Nannies of a cluster, which are ready a moment later than their workers."""

from __future__ import annotations

from distributed import Client, Nanny

from tests.waiting import wait_until


def watched(client: Client, count: int, timeout: float = 20) -> None:
    """Wait until this many workers run and their Nannies know it.

    If a worker dies before that, its node ends, too, with the cause of a failed start.
    """

    def state(dask_worker: Nanny) -> str:
        return str(dask_worker.status.name)

    def states() -> list[str]:
        return list(client.run(state, nanny=True, on_error="ignore").values())

    wait_until(
        lambda: states() == ["running"] * count, f"{count} Nannies run", timeout, states
    )
