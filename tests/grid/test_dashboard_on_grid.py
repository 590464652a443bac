"""The dashboard's page and its JSON, of nodes on a real Grid Engine."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine import GridEngineCluster
from tests import browser
from tests.grid.conftest import Cell
from tests.waiting import wait_until

pytestmark = pytest.mark.grid


def nodes(port: int) -> list[dict[str, Any]]:
    """Return the nodes of the JSON route."""
    url = f"http://127.0.0.1:{port}/json/gridengine.json"
    with urllib.request.urlopen(url, timeout=30) as answer:
        found: list[dict[str, Any]] = json.load(answer)["nodes"]
    return found


def states(port: int) -> list[str]:
    return sorted(node["state"] for node in nodes(port))


@pytest.mark.timeout(240)
def test_a_killed_node_is_on_the_page_and_in_the_json(
    grid: Cell, options: dict[str, Any]
) -> None:
    """It has its job, host and cause; its replacement is there, too."""
    given = {**options, "scheduler_options": {"dashboard_address": ":0"}}
    with GridEngineCluster(jobs=4, **given) as cluster:
        cluster.wait_for_workers(4, timeout=60)
        port = cluster.scheduler.http_server.port
        assert states(port) == ["working"] * 4
        before = nodes(port)
        assert {node["host"] for node in before} == set(grid.hosts)
        assert all(node["queue"] == "all.q" for node in before)
        assert all(node["queue_wait_seconds"] >= 0 for node in before)
        killed = cluster.jobs()[0]
        os.kill(killed.pid, signal.SIGKILL)  # all hosts of a cell share process ids
        wait_until(
            lambda: states(port) == ["gone", *["working"] * 4],
            "one gone, another in its place",
            90,
            lambda: nodes(port),
        )
        (gone,) = (node for node in nodes(port) if node["state"] == "gone")
        assert (gone["job"], gone["host"]) == (str(killed.id), killed.host)
        assert (gone["cause"], gone["failed"]) == ("was killed", True)
        _check_page(port, str(killed.id), cluster)
    assert grid.qstat() == ""


def _check_page(port: int, job: str, cluster: GridEngineCluster) -> None:
    with browser.page() as page:
        page.goto(f"http://127.0.0.1:{port}/gridengine")
        page.get_by_text("1 was killed", exact=True).wait_for(timeout=60_000)
        page.get_by_text(job, exact=False).first.wait_for()
        cluster.scale(6)
        page.get_by_text("6 nodes requested").wait_for(timeout=60_000)
        page.get_by_text("6 working").wait_for(timeout=60_000)
        if where := os.environ.get("PICTURES"):
            page.screenshot(path=Path(where) / "dashboard.png")
