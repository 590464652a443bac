"""Reports and records of what ran where."""

from __future__ import annotations

from distributed import get_task_stream, performance_report

from tests.ecosystem.habits import Site


def report(site: Site) -> None:
    """performance_report writes a page that knows the tasks that ran meanwhile."""
    page = site.directory / "report.html"
    with performance_report(filename=str(page)):
        site.client.gather(site.client.map(round, [0.1, 0.2], pure=False))
    text = page.read_text()
    assert "Dask Performance Report" in text
    assert "round" in text
    page.unlink()


def task_stream(site: Site) -> None:
    """get_task_stream tells worker, key and times of each task."""
    with get_task_stream(client=site.client) as stream:
        futures = site.client.map(round, [0.1, 0.2, 0.3], pure=False)
        site.client.gather(futures)
    assert {record["key"] for record in stream.data} == {f.key for f in futures}
    workers = site.cluster.scheduler_info["workers"]
    assert {record["worker"] for record in stream.data} <= set(workers)


def profile(site: Site) -> None:
    """The profile and the logs of all workers can be fetched."""
    assert {"count", "children"} <= set(site.client.profile())
    assert len(site.client.get_worker_logs()) == len(site.names())


def memory(site: Site) -> None:
    """MemorySampler sees the memory of the workers."""
    from distributed.diagnostics import MemorySampler

    sampler = MemorySampler()
    with sampler.sample("work", client=site.client, interval=0.05):
        site.client.gather(site.client.map(round, [0.1, 0.2], pure=False))
    assert all(size > 0 for _, size in sampler.samples["work"])


def versions(site: Site) -> None:
    """Client, scheduler and workers have the same versions of all that matters."""
    assert set(site.client.get_versions(check=True)["workers"])
