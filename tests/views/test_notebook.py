"""A cluster's table, and its line."""

from __future__ import annotations

import re

from dask_gridengine.exit_causes import Cause
from dask_gridengine.nodes.summary import Standing
from dask_gridengine.views.notebook import (
    HOSTS,
    REASONS,
    WorkerResources,
    means,
    one_line,
    table,
    telling,
)
from tests.simulated import Nodes, pooled

GiB = 2**30


def some() -> tuple[Nodes, Standing]:
    """Two that work on two hosts, one that failed, one in the queue for 90 s."""
    nodes = Nodes(name="mine")
    a, b, c, _ = nodes.submit(4)
    for record, host in ((a, "node1"), (b, "node2"), (c, "node2")):
        nodes.arrive(record, host)
        nodes.work(record)
    nodes.end(c, Cause.MEMORY)
    nodes.clock.now += 90
    return nodes, Standing(nodes.view, clock=nodes.clock)


def html(standing: Standing, **changes: object) -> str:
    given: dict[str, object] = {
        "kind": "GridEngineCluster",
        "link": "http://here:8787/gridengine",
        "workers": {
            "ge-0": WorkerResources(4, 8 * GiB),
            "ge-1": WorkerResources(4, 8 * GiB),
        },
        "scaling": "kept at 3",
        "reasons": ["one", "two"],
        **changes,
    }
    return table(standing, **given)  # type: ignore[arg-type]


def cells(text: str) -> list[list[str]]:
    """Words of each row of all tables."""
    rows = re.findall(r"<tr.*?</tr>", text)
    return [
        [re.sub("<.*?>", "", cell) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)]
        for row in rows
    ]


def test_a_line_has_what_the_table_has() -> None:
    """States, hosts, how long the queue is, why some have failed."""
    _, standing = some()
    assert one_line(standing) == (
        "3 nodes wanted: 2 working on 2 hosts, 1 queued for up to 1.5 min,"
        " 1 failed (1 ran into the memory limit)"
    )
    assert one_line(standing, "0 to 10").startswith(
        "3 nodes wanted (adaptive, 0 to 10)"
    )
    assert "2 working on 2 hosts (1 worker paused), " in one_line(standing, paused=1)


def test_without_nodes_that_is_said() -> None:
    """Rather than nothing at all."""
    nodes = Nodes()
    assert one_line(Standing(nodes.view)) == "no nodes requested"


def test_the_table_has_a_row_for_each_state() -> None:
    """With hosts, threads and memory; those of all below."""
    _, standing = some()
    assert cells(html(standing))[:5] == [
        ["state", "nodes", "hosts", "threads", "memory", ""],
        ["queued", "1", "", "", "", "the first for 1.5 min"],
        ["working", "2", "2", "8", "16.00 GiB", ""],
        ["gone", "1", "", "", "", "1 failed: 1 ran into the memory limit"],
        ["3 of 3 wanted", "", "2", "8", "16.00 GiB", ""],
    ]


def test_each_host_has_a_row() -> None:
    """Folded; of very many only some, and how many there are more."""
    nodes, standing = some()
    assert ["node1", "1", "4", "8.00 GiB", "1 working"] in cells(html(standing))
    for i, record in enumerate(nodes.submit(HOSTS + 5, "8")):
        nodes.arrive(record, f"other{i:03d}")
    assert ["... 7 more", "", "", "", ""] in cells(html(standing))


def test_each_pool_has_a_row_where_there_are_several() -> None:
    """How many are wanted, and what they are at."""
    view, nodes = pooled(small=3, big=1)
    nodes["small"].arrive(next(iter(nodes["small"].registry)))
    rows = cells(html(Standing(view)))
    assert ["small", "3", "3", "2 queued, 1 arrived"] in rows
    assert ["big", "1", "1", "1 queued"] in rows
    _, standing = some()
    assert "pools" not in html(standing)


def test_that_all_is_well_is_not_said_twice() -> None:
    """The table says it; what is being waited for, and why nodes ended, stays."""
    assert telling(["3 nodes are wanted: 3 working."]) == []
    assert telling(["no nodes requested."]) == []
    waits = ["3 nodes are wanted: 2 working.", "1 node was killed: by SIGKILL"]
    assert telling(waits) == waits
    assert telling(["1 node is wanted: 1 working.", waits[1]]) == [waits[1]]


def test_long_reasons_are_cut() -> None:
    """With what says them all."""
    _, standing = some()
    text = html(standing, reasons=[f"reason {i}" for i in range(REASONS + 3)])
    assert "reason 0" in text
    assert f"reason {REASONS}" not in text
    assert "cluster.explain()" in text


def test_what_others_say_is_never_markup() -> None:
    """Host names, reasons and logs come from elsewhere."""
    nodes = Nodes(name="<i>")
    (record,) = nodes.submit(1)
    nodes.arrive(record, "<script>")
    text = html(Standing(nodes.view), reasons=["<script>"], log="<script>")
    assert "<script>" not in text
    assert "<i>" not in text
    assert text.count("&lt;script&gt;") == 3


def test_it_has_no_colours_of_its_own_for_words() -> None:
    """The notebook's theme may be dark: ours are only those of states."""
    _, standing = some()
    text = html(standing)
    assert not re.search(r"[^-]color:", text)


def test_workers_of_one_node_are_taken_together() -> None:
    """By the name of their node; a worker without a limit counts as none."""
    found = means(
        [
            {"name": "ge-0-0", "nthreads": 1, "memory_limit": GiB},
            {"name": "ge-0-1", "nthreads": 1, "memory_limit": GiB},
            {"name": "ge-1", "nthreads": 2, "memory_limit": None},
        ]
    )
    assert found == {"ge-0": WorkerResources(2, 2 * GiB), "ge-1": WorkerResources(2, 0)}
