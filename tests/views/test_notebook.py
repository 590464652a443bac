"""A cluster's HTML table, and its repr."""

from __future__ import annotations

import pickle
import re
import time
from collections import Counter

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.nodes.registry import NodeRegistry
from dask_gridengine.nodes.summary import NodeSummary
from dask_gridengine.views.notebook import (
    MAX_HOSTS,
    MAX_REASONS,
    Text,
    one_line,
    overview,
    resources_by_node,
)
from tests.simulated import START, Nodes, pooled

GiB = 2**30


def some() -> tuple[Nodes, NodeSummary]:
    """Two nodes work on two hosts, one failed, one queues for 90 s."""
    nodes = Nodes(name="mine")
    a, b, c, _ = nodes.submit(4)
    for record, host in ((a, "node1"), (b, "node2"), (c, "node2")):
        nodes.arrive(record, host)
        nodes.work(record)
    nodes.end(c, Cause.MEMORY)
    nodes.clock.now += 90
    return nodes, NodeSummary(nodes.history, clock=nodes.clock)


def html(summary: NodeSummary, **changes: object) -> str:
    given: dict[str, object] = {
        "kind": "GridEngineCluster",
        "link": "http://here:8787/gridengine",
        "workers": {
            "ge-0": Counter(threads=4, memory=8 * GiB),
            "ge-1": Counter(threads=4, memory=8 * GiB),
        },
        "scaling": "kept at 3",
        "reasons": ["one", "two"],
        **changes,
    }
    return overview(summary, **given)  # type: ignore[arg-type]


def cells(text: str) -> list[list[str]]:
    """Return the text of each row of all tables."""
    rows = re.findall(r"<tr.*?</tr>", text)
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
        for row in rows
    ]


def test_the_repr_has_what_the_table_has() -> None:
    """States, hosts, how long the queue is, why some have failed."""
    _, summary = some()
    assert one_line(summary) == (
        "3 nodes requested: 2 working on 2 hosts, 1 queued for up to 1.5 min,"
        " 1 failed (1 ran into the memory limit)"
    )
    assert one_line(summary, "0 to 10").startswith(
        "3 nodes requested (adaptive, 0 to 10)"
    )
    assert "2 working on 2 hosts (1 worker paused), " in one_line(summary, paused=1)


def test_the_repr_of_a_cluster_without_nodes() -> None:
    """Requested or not."""
    assert one_line(NodeSummary(Nodes().history)) == "no nodes requested"
    missing = NodeHistory("", lambda: {"": NodeRegistry()}, lambda: {"": 4})
    assert one_line(NodeSummary(missing)) == "4 nodes requested, 0 running"


def test_the_table_has_a_row_for_each_state() -> None:
    """With hosts, threads and memory, and a total below."""
    nodes, summary = some()
    since = time.strftime("%H:%M:%S", time.localtime(START))
    before = html(summary)
    assert cells(before)[:5] == [
        ["state", "nodes", "hosts", "threads", "memory", ""],
        ["queued", "1", "", "", "", f"the first since {since}"],
        ["working", "2", "2", "8", "16 GiB", ""],
        ["in all", "3", "2", "8", "16 GiB", "3 requested"],
        ["gone", "1", "", "", "", "1 failed: 1 ran into the memory limit"],
    ]
    nodes.clock.now += 60
    assert html(summary) == before, "passing time changes nothing"


def test_restarted_workers_are_counted() -> None:
    """In the table and in the repr, although their nodes go on."""
    nodes, summary = some()
    nodes.restart(next(iter(nodes.registry.live.values())))
    note = "1 worker died and restarted"
    assert note in one_line(summary)
    assert ["restarts", *[""] * 4, f"{note} in place"] in cells(html(summary))


def test_explanations_are_text_that_a_notebook_shows_unquoted() -> None:
    """It compares, joins and pickles as any other text."""
    text = Text("one\n  Hint: <two>")
    assert text == "one\n  Hint: <two>"
    assert repr(text) == str(text)
    assert pickle.loads(pickle.dumps(text)) == text
    assert "one\n  Hint: &lt;two&gt;" in text._repr_html_()


def test_each_host_has_a_row() -> None:
    """Of many hosts some; a row has the number of the others."""
    nodes, summary = some()
    assert ["node1", "1", "4", "8 GiB", "1 working"] in cells(html(summary))
    for i, record in enumerate(nodes.submit(MAX_HOSTS + 5, "8")):
        nodes.arrive(record, f"other{i:03d}")
    assert ["... 7 more", "", "", "", ""] in cells(html(summary))


def test_each_pool_has_a_row_where_there_are_several() -> None:
    """Requested nodes, and live ones by state."""
    history, nodes = pooled(small=3, big=1)
    nodes["small"].arrive(next(iter(nodes["small"].registry)))
    rows = cells(html(NodeSummary(history)))
    assert ["small", "3", "3", "2 queued, 1 arrived"] in rows
    assert ["big", "1", "1", "1 queued"] in rows
    _, summary = some()
    assert "pools" not in html(summary)


def test_long_reasons_are_cut() -> None:
    """With a pointer to the method that returns all."""
    _, summary = some()
    text = html(summary, reasons=[f"reason {i}" for i in range(MAX_REASONS + 3)])
    assert "reason 0" in text
    assert f"reason {MAX_REASONS}" not in text
    assert "cluster.explain()" in text


def test_html_is_escaped() -> None:
    """Names of clusters and hosts, reasons and logs are text."""
    nodes = Nodes(name="<i>")
    (record,) = nodes.submit(1)
    nodes.arrive(record, "<script>")
    text = html(NodeSummary(nodes.history), reasons=["<script>"], log="<script>")
    assert "<script>" not in text
    assert "<i>" not in text
    assert text.count("&lt;script&gt;") == 3


def test_text_has_the_colours_of_the_notebook() -> None:
    """Its theme may be dark."""
    _, summary = some()
    text = html(summary)
    assert not re.search(r"[^-]color:", text)


def test_resources_of_one_nodes_workers_are_added() -> None:
    """By the node's name; a worker without a memory limit adds no memory."""
    found = resources_by_node(
        [
            {"name": "ge-0-0", "nthreads": 1, "memory_limit": GiB},
            {"name": "ge-0-1", "nthreads": 1, "memory_limit": GiB},
            {"name": "ge-1", "nthreads": 2, "memory_limit": None},
        ]
    )
    assert found == {
        "ge-0": Counter(threads=2, memory=2 * GiB),
        "ge-1": Counter(threads=2, memory=0),
    }
