"""A Prefect flow on a cluster that its task runner makes, as a program.

Its argument is the keywords of the cluster as JSON. It prints what the tasks returned.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(cluster_kwargs: dict[str, Any]) -> None:
    """Run four tasks in the workers."""
    # Not above: pytest imports this file where there is no Prefect.
    from prefect import flow, task
    from prefect_dask import DaskTaskRunner

    @task  # type: ignore[untyped-decorator]
    def square(n: int) -> tuple[int, int]:
        return n * n, os.getpid()

    runner = DaskTaskRunner(
        cluster_class="dask_gridengine.GridEngineCluster",
        cluster_kwargs=cluster_kwargs,
    )

    @flow(task_runner=runner)  # type: ignore[untyped-decorator]
    def squares() -> list[int]:
        found = square.map(range(4)).result()
        assert os.getpid() not in {pid for _, pid in found}
        return [value for value, _ in found]

    print(squares())


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
