"""Metrics beside Dask's own."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dask_gridengine.exit_causes import Cause, Diagnosis
from dask_gridengine.nodes.registry import ENDED_KEPT
from dask_gridengine.views import prometheus
from tests.scheduler.scene import page, running
from tests.simulated import Nodes

pytest.importorskip("prometheus_client")

DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"


async def metrics(nodes: Nodes) -> dict[str, float]:
    """Return the metrics of a scheduler with these nodes, without Dask's own."""
    async with running() as scheduler:
        scheduler.show(nodes.history)
        status, text, _ = await page(scheduler, "/metrics")
        assert status == 200
        assert "dask_scheduler_workers" in text
    found = re.findall(r"^(dask_gridengine_.+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def labels(**given: str) -> str:
    found = sorted({"cluster": "simulated", "pool": "", **given}.items())
    return ",".join(f'{name}="{value}"' for name, value in found)


def test_metrics_of_nodes() -> None:
    """Nodes by state, ends by cause, time in the queue and start-up."""
    nodes = Nodes()
    first, second, _ = nodes.submit(3)
    nodes.clock.now += 15
    for record in (first, second):
        nodes.arrive(record)
    nodes.work(first)
    nodes.end(second, Cause.MEMORY)
    found = asyncio.run(metrics(nodes))
    name = "dask_gridengine"
    assert found[f"{name}_nodes{{{labels(state='queued')}}}"] == 1
    assert found[f"{name}_nodes{{{labels(state='working')}}}"] == 1
    assert found[f"{name}_nodes_wanted{{{labels()}}}"] == 2
    assert found[f"{name}_nodes_submitted_total{{{labels()}}}"] == 3
    cause = labels(cause=Cause.MEMORY.value, failed="true")
    assert found[f"{name}_nodes_ended_total{{{cause}}}"] == 1
    wait = f"{name}_queue_wait_seconds"
    assert found[f"{wait}_bucket{{{labels(le='10.0')}}}"] == 0
    assert found[f"{wait}_bucket{{{labels(le='20.0')}}}"] == 2
    assert found[f"{wait}_bucket{{{labels(le='+Inf')}}}"] == 2
    assert found[f"{wait}_sum{{{labels()}}}"] == 30
    assert found[f"{name}_startup_seconds_count{{{labels()}}}"] == 1


def test_a_closed_cluster_is_not_reported() -> None:
    """Also where the process has another cluster."""

    async def main() -> str:
        async with running() as scheduler:
            scheduler.show(Nodes(name="early").history)
        async with running() as scheduler:
            scheduler.show(Nodes(name="late").history)
            return (await page(scheduler, "/metrics"))[1]

    text = asyncio.run(main())
    assert 'cluster="late"' in text
    assert 'cluster="early"' not in text


def test_counters_never_go_down() -> None:
    """A node counts by its first known cause, also when accounting refines it."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.UNKNOWN)
    before = asyncio.run(metrics(nodes))
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME)
    assert asyncio.run(metrics(nodes)) == before
    cause = labels(cause=Cause.UNKNOWN.value, failed="true")
    assert before[f"dask_gridengine_nodes_ended_total{{{cause}}}"] == 1


def test_nodes_that_are_not_kept_are_counted() -> None:
    """Also those that ended before the first request."""
    nodes = Nodes()
    for record in nodes.submit(ENDED_KEPT + 10):
        nodes.end(record, Cause.KILLED)
    found = asyncio.run(metrics(nodes))
    cause = labels(cause=Cause.KILLED.value, failed="true")
    for name in (f"submitted_total{{{labels()}}}", f"ended_total{{{cause}}}"):
        assert found[f"dask_gridengine_nodes_{name}"] == ENDED_KEPT + 10


def test_prometheus_is_optional() -> None:
    """Without it the route answers as Dask does."""
    code = """
import sys
sys.modules["prometheus_client"] = None
import asyncio
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.simulated import Nodes
from tests.scheduler.scene import page, running

async def main():
    async with running() as scheduler:
        scheduler.show(Nodes().history)
        print((await page(scheduler, "/metrics"))[1][:40])

asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert ran.stdout == "# Prometheus metrics are not available, \n", ran.stderr


def test_the_metrics_are_documented() -> None:
    """docs/dashboard.md has each name, and no other."""
    found = asyncio.run(metrics(Nodes()))
    assert found
    named = set(re.findall(r"^\| `(dask_gridengine_\w+)` \|", DOCS.read_text(), re.M))
    families = {family.name for family in prometheus.COLLECTOR.collect()}
    # Prometheus adds the suffix of counters itself.
    assert {name.removesuffix("_total") for name in named} == families
