"""A Dask cluster with its scheduler in this process; ends with standard input.

It prints its address. Its workers may use any memory, so nothing is spilled to disk.
"""

from __future__ import annotations

import sys

from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(
        n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
