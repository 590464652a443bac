"""The nodes, for machines."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from dask_gridengine.exit_causes import Cause
from dask_gridengine.views.json_api import VERSION, document
from tests.scheduler.scene import page, running
from tests.simulated import START, Nodes

DOCS = Path(__file__).parents[2] / "docs" / "dashboard.md"


def two() -> Nodes:
    """One that failed, and one in the queue."""
    nodes = Nodes()
    record, _ = nodes.submit(2)
    nodes.clock.now += 10
    nodes.arrive(record, "node1")
    nodes.work(record)
    nodes.end(record, Cause.MEMORY)
    return nodes


def test_every_node_is_there() -> None:
    """With its whole way; what is not known is null."""
    answer = document(two().view)
    assert answer["counts"] == {
        "queued": 1,
        "arrived": 0,
        "importing": 0,
        "working": 0,
        "suspended": 0,
        "draining": 0,
        "gone": 1,
    }
    gone, queued = answer["nodes"]
    assert (gone["job"], gone["host"], gone["cause"], gone["failed"]) == (
        "7.1",
        "node1",
        "ran into the memory limit",
        True,
    )
    assert gone["cause_known_from"] == "exit_report"
    assert gone["queue_wait_seconds"] == 10.0
    assert queued["entered"] == {"queued": START}
    assert (queued["host"], queued["cause"], queued["pool"]) == (None, None, None)


def test_only_those_that_live() -> None:
    """?live=1 leaves out who is gone; the counts are of all."""
    answer = document(two().view, live=True)
    assert [node["job"] for node in answer["nodes"]] == ["7.2"]
    assert answer["counts"]["gone"] == 1


def test_it_is_served_before_anybody_has_looked_at_a_page() -> None:
    """Programs need no bokeh, and need not wait for it."""

    async def main() -> None:
        async with running() as scheduler:
            scheduler.show(two().view)
            for query, count in (("", 2), ("?live=1", 1), ("?live=0", 2)):
                path = f"/json/gridengine.json{query}"
                status, text, _ = await page(scheduler, path, wait=False)
                assert status == 200
                answer = json.loads(text)
                assert len(answer["nodes"]) == count
                assert (answer["version"], answer["cluster"]) == (VERSION, "simulated")

    asyncio.run(main())


def test_the_schema_is_documented() -> None:
    """Each name that is answered stands in docs/dashboard.md, and no other."""
    answer = document(two().view)
    text = DOCS.read_text().partition("## JSON")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert named == {*answer, *answer["nodes"][0]}
