"""``/json/gridengine.json``."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dask_gridengine.exit_causes import Cause
from dask_gridengine.views.json_api import VERSION, document
from tests.scheduler.scene import page, running
from tests.simulated import START, Nodes

DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"


def two() -> Nodes:
    """Make a node that failed, and a queued one."""
    nodes = Nodes()
    record, _ = nodes.submit(2)
    nodes.clock.now += 10
    nodes.arrive(record, "node1")
    nodes.work(record)
    nodes.end(record, Cause.MEMORY)
    return nodes


def test_every_node_is_served() -> None:
    """With its times; what is not known is null."""
    answer = json.loads(json.dumps(document(two().history)))
    counts = {"arrived": 0, "importing": 0, "working": 0, "suspended": 0, "draining": 0}
    assert answer["counts"] == {"queued": 1, **counts, "gone": 1}
    assert answer["pools"] == {"": {"wanted": 1, "counts": answer["counts"]}}
    gone, queued = answer["nodes"]
    assert (gone["job"], gone["host"], gone["worker"]) == ("7.1", "node1", "ge-0")
    assert (gone["state"], gone["failed"]) == ("gone", True)
    assert gone["cause"] == Cause.MEMORY.value
    assert gone["cause_known_from"] == "exit report"
    assert gone["queue_wait_seconds"] == 10.0
    assert queued["entered"] == {"queued": START}
    assert (queued["host"], queued["cause"], queued["pool"]) == (None, None, None)


def test_live_nodes_only() -> None:
    """?live=1 leaves out ended nodes; the counts are of all."""
    answer = document(two().history, live=True)
    assert [node["job"] for node in answer["nodes"]] == ["7.2"]
    assert answer["counts"]["gone"] == 1


async def test_the_route_needs_no_page() -> None:
    """Programs need no bokeh, and do not wait for its import."""
    async with running() as scheduler:
        scheduler.show(two().history)
        for query, count in (("", 2), ("?live=1", 1), ("?live=0", 2)):
            path = f"/json/gridengine.json{query}"
            status, text, _ = await page(scheduler, path)
            assert status == 200
            answer = json.loads(text)
            assert len(answer["nodes"]) == count
            assert (answer["version"], answer["cluster"]) == (VERSION, "simulated")


def test_the_schema_is_documented() -> None:
    """docs/dashboard.md has each key, and no other."""
    answer = document(two().history)
    text = DOCS.read_text().partition("## JSON")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert named == {*answer, *answer["nodes"][0]}
