"""Data that is moved about, published, or worked on by tasks that start tasks."""

from __future__ import annotations

import numpy as np
from distributed import Variable, fire_and_forget, get_client, rejoin, secede

from tests.ecosystem.habits import WORKERS, Site
from tests.waiting import wait_until


def scattered(site: Site) -> None:
    """Scattered data can be on every worker, and is evened out again."""
    data = np.arange(100_000)
    future = site.client.scatter(data, broadcast=True)
    assert len(site.client.who_has(future)[future.key]) == WORKERS
    assert site.client.submit(np.sum, future).result(timeout=30) == data.sum()
    pieces = site.client.scatter([data + i for i in range(4)], workers=site.names()[0])
    site.client.rebalance(pieces)
    holders = {w for where in site.client.who_has(pieces).values() for w in where}
    assert len(holders) == WORKERS
    site.client.replicate(pieces[0])
    assert len(site.client.who_has(pieces[0])[pieces[0].key]) == WORKERS


def published(site: Site) -> None:
    """A published data set is found by its name."""
    site.client.publish_dataset(squares=site.client.map(np.square, range(3)))
    found = site.client.gather(site.client.get_dataset("squares"))
    assert found == [0, 1, 4]
    site.client.unpublish_dataset("squares")
    assert "squares" not in site.client.list_datasets()


def nested(site: Site) -> None:
    """Tasks start tasks and wait for them, more of them than there are threads."""

    def fibonacci(n: int) -> int:
        if n < 2:
            return n
        client = get_client()
        both = client.map(fibonacci, [n - 1, n - 2], pure=False)
        secede()
        found = client.gather(both)
        rejoin()
        return sum(found)

    assert site.client.submit(fibonacci, 5, pure=False).result(timeout=60) == 5


def forgotten(site: Site) -> None:
    """What is fired and forgotten is run all the same."""

    def submission_id() -> None:
        Variable("submission_id").set("done")

    fire_and_forget(site.client.submit(submission_id, pure=False))
    mark_of_it = Variable("submission_id", client=site.client)
    assert mark_of_it.get(timeout=30) == "done"
    mark_of_it.delete()


def dumped(site: Site) -> None:
    """The state of the cluster can be written to a file, for a bug report."""
    site.client.dump_cluster_state(str(site.directory / "dump"))
    assert (site.directory / "dump.msgpack.gz").stat().st_size > 0


def shut_down(site: Site) -> None:
    """client.shutdown() closes the cluster, too."""
    site.client.shutdown()
    wait_until(
        lambda: site.cluster.status.name == "closed",
        "a closed cluster",
        30,
        lambda: site.cluster.status,
    )
    assert {node.state.value for node in site.cluster.jobs()} == {"gone"}
    # Dask's client leaves the thread of its loop behind here, of LocalCluster's too.
    site.client._loop_runner.stop()
