"""What a cluster says of itself may be asked in any thread, while nodes come and go."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_gridengine import GridEngineCluster
from tests.clusters import running
from tests.waiting import asked_in_another_thread

PROPERTIES = ("counts", "observed", "plan", "requested", "waiting", "wanted")
METHODS = ("explain", "jobs", "stuck", "__repr__", "_repr_html_")


@pytest.mark.parametrize("names", [PROPERTIES, METHODS])
def test_a_cluster_may_be_asked_in_any_thread(
    names: tuple[str, ...], shared: Path
) -> None:
    """A dashboard, a notebook or a user's own thread asks whenever it likes."""

    def ask(cluster: GridEngineCluster) -> None:
        for name in names:
            answer = getattr(cluster, name)
            if callable(answer):
                answer()

    with running(shared, slots=1, security=False) as cluster:
        with asked_in_another_thread(lambda: ask(cluster)):
            for count in (1000, 1, 1000, 0):
                cluster.scale(count)
        assert cluster.wanted == 0
