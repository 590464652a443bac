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
from tests.scheduler.test_scheduler import page, running
from tests.simulated import Nodes

pytest.importorskip("prometheus_client")

DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"


async def metrics(nodes: Nodes) -> dict[str, float]:
    """What ``/metrics`` says of a scheduler with these nodes, less Dask's own."""
    async with running() as scheduler:
        scheduler.show(nodes.view)
        status, text, _ = await page(scheduler, "/metrics")
        assert status == 200
        assert "dask_scheduler_workers" in text
    found = re.findall(r"^(dask_gridengine_.+) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def labels(**given: str) -> str:
    all_of_them = {"cluster": "simulated", "pool": "", **given}
    return ",".join(f'{name}="{all_of_them[name]}"' for name in sorted(all_of_them))


def test_the_metrics_of_dask_have_ours_beside_them() -> None:
    """States, ends by cause, time in the queue and start-up."""
    nodes = Nodes()
    first, second, _ = nodes.submit(3)
    nodes.clock.now += 15
    for record in (first, second):
        nodes.arrive(record)
    nodes.work(first)
    nodes.end(second, Cause.MEMORY)
    said = asyncio.run(metrics(nodes))
    name = "dask_gridengine"
    assert said[f"{name}_nodes{{{labels(state='queued')}}}"] == 1
    assert said[f"{name}_nodes{{{labels(state='working')}}}"] == 1
    assert said[f"{name}_nodes_wanted{{{labels()}}}"] == 2
    assert said[f"{name}_nodes_submitted_total{{{labels()}}}"] == 3
    cause = labels(cause="ran into the memory limit", failed="true")
    assert said[f"{name}_nodes_ended_total{{{cause}}}"] == 1
    wait = f"{name}_queue_wait_seconds"
    assert said[f"{wait}_bucket{{{labels(le='10.0')}}}"] == 0
    assert said[f"{wait}_bucket{{{labels(le='20.0')}}}"] == 2
    assert said[f"{wait}_bucket{{{labels(le='+Inf')}}}"] == 2
    assert said[f"{wait}_sum{{{labels()}}}"] == 30
    assert said[f"{name}_startup_seconds_count{{{labels()}}}"] == 1


def test_a_closed_cluster_says_nothing_any_more() -> None:
    """Another one of the same process does not speak for it."""

    async def main() -> str:
        async with running() as scheduler:
            scheduler.show(Nodes(name="early").view)
        async with running() as scheduler:
            scheduler.show(Nodes(name="late").view)
            return (await page(scheduler, "/metrics"))[1]

    text = asyncio.run(main())
    assert 'cluster="late"' in text
    assert 'cluster="early"' not in text


def test_counters_never_go_down() -> None:
    """A cause that accounting corrects has been counted."""
    nodes = Nodes()
    (record,) = nodes.submit(1)
    nodes.end(record, Cause.UNKNOWN)
    before = asyncio.run(metrics(nodes))
    record.diagnosis = Diagnosis(cause=Cause.WALLTIME)
    assert asyncio.run(metrics(nodes)) == before
    cause = labels(cause="ended for an unknown reason", failed="true")
    assert before[f"dask_gridengine_nodes_ended_total{{{cause}}}"] == 1


def test_nodes_that_are_not_kept_are_counted() -> None:
    """Also those that ended before the first request."""
    nodes = Nodes()
    for record in nodes.submit(ENDED_KEPT + 10):
        nodes.end(record, Cause.KILLED)
    said = asyncio.run(metrics(nodes))
    cause = labels(cause="was killed", failed="true")
    assert said[f"dask_gridengine_nodes_submitted_total{{{labels()}}}"] == (
        ENDED_KEPT + 10
    )
    assert said[f"dask_gridengine_nodes_ended_total{{{cause}}}"] == ENDED_KEPT + 10


def test_nothing_is_added_where_there_is_no_prometheus() -> None:
    """Nor is it loaded: the route says what Dask's says."""
    code = """
import sys
sys.modules["prometheus_client"] = None
import asyncio
from dask_gridengine.scheduler.scheduler import ClusterScheduler
from tests.simulated import Nodes
from tests.scheduler.test_scheduler import page, running

async def main():
    async with running() as scheduler:
        scheduler.show(Nodes().view)
        print((await page(scheduler, "/metrics"))[1][:40])

asyncio.run(main())
"""
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "# Prometheus metrics are not available, \n", said.stderr


def test_the_metrics_are_documented() -> None:
    """Each name stands in docs/dashboard.md, and no other."""
    said = asyncio.run(metrics(Nodes()))
    assert said  # wanted, at least
    named = set(re.findall(r"^\| `(dask_gridengine_\w+)` \|", DOCS.read_text(), re.M))
    families = {family.name for family in prometheus._METRICS.collect()}
    # Prometheus adds the suffix of counters itself.
    assert {name.removesuffix("_total") for name in named} == families
