"""A real notebook, and what a cluster shows in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import ClusterNotRunning, GridEngineCluster
from tests.clusters import running

OPEN = """
from dask_gridengine import GridEngineCluster
cluster = GridEngineCluster(
    jobs=3, launcher="process", slots=2, memory="1 GB", quiet=True,
    shared_directory={shared!r}, scheduler_options={{"dashboard_address": ":0"}},
)
cluster.wait_for_workers(2)
from tests.waiting import wait_until
"""
KILL = """
import os, signal
node = next(node for node in cluster.jobs() if node.working)
os.kill(node.pid, signal.SIGKILL)
wait_until(
    lambda: cluster.counts.get("gone") and cluster.counts["working"] == 2,
    "another in its place", 60, lambda: cluster.counts,
)
"""
SCALE = """
controls = {
    control.description: control
    for box in cluster._widget().children[1].children[1].children
    for control in box.children
}
controls["Workers"].value = 1
controls["Scale"].click()
print(cluster.wanted)
"""
ADAPT = """
controls["Maximum"].value = 2
controls["Adapt"].click()
print(repr(cluster))
"""
CLOSE = """
cluster.close()
print(repr(cluster))
picture = cluster.timeline("run.html")
"""


#: In a process of its own: Jupyter's libraries leave an event loop behind.
RUN = """
import sys, nbclient, nbformat
path, directory = sys.argv[1:]
notebook = nbformat.read(path, 4)
client = nbclient.NotebookClient(
    notebook, timeout=120, kernel_name="python3",
    resources={"metadata": {"path": directory}},
)
client.execute()
nbformat.write(notebook, path)
"""


def execute(directory: Path, *cells: str) -> list[Any]:
    """Run cells in a real kernel; the cells as they are then, with their outputs."""
    for name in ("nbclient", "nbformat", "ipykernel", "ipywidgets"):
        pytest.importorskip(name)
    import nbformat

    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    path = directory / "notebook.ipynb"
    nbformat.write(notebook, path)
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(path), str(directory)],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ran.returncode == 0, ran.stderr
    return list(nbformat.read(path, 4).cells)


def printed(cell: Any) -> str:
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


@pytest.mark.timeout(240)
def test_a_notebook_shows_and_steers_a_cluster(shared: Path, tmp_path: Path) -> None:
    """Table, one line, Dask's controls, and a figure of the run."""
    root = str(Path(__file__).parents[2])
    cells = execute(
        tmp_path,
        f"import sys; sys.path.insert(0, {root!r})",
        OPEN.format(shared=str(shared)),
        KILL,
        "cluster",
        "print(repr(cluster))",
        "print(cluster._repr_html_())",
        "cluster.explain()",
        SCALE,
        ADAPT,
        CLOSE,
    )
    shown, controls = (output.data for output in cells[3].outputs)
    assert "application/vnd.jupyter.widget-view+json" in controls
    # Plain HTML, which needs no network. The cluster was closed when this was saved.
    assert set(shown) == {"text/plain", "text/html"}
    assert "closed, " in shown["text/plain"]
    assert not re.search(r"<(script|link|img|iframe)|src=", shown["text/html"])
    assert "3 nodes requested: 2 working on 1 host" in printed(cells[4])
    assert "1 failed (1 was killed)" in printed(cells[4])
    words = re.sub("<[^>]*>", " ", printed(cells[5]))
    for expected in ("working", "1.86 GiB", "1 failed: 1 was killed", "kept at 3"):
        assert expected in words
    assert "by SIGKILL" in words
    assert cells[6].outputs[0].data["text/plain"].startswith("3 nodes requested:")
    assert "1 failed: 1 was killed" in shown["text/html"]
    assert printed(cells[7]) == "1\n"
    assert "(adaptive, 0 to 2)" in printed(cells[8])
    assert "closed" in printed(cells[9])
    assert (tmp_path / "run.html").stat().st_size > 100_000


def test_without_ipywidgets_the_table_is_all_there_is(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Dask has it: HTML, without controls."""
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with cluster(shared, jobs=0) as made:
        assert made._widget() is None
        assert "no nodes requested" in made._repr_html_()


def test_an_adaptive_cluster_says_its_bounds_in_nodes(shared: Path) -> None:
    """Dask counts workers; two workers of one node are one here."""
    with cluster(shared, jobs=0, processes=2, cores=2) as made:
        adaptive = made.adapt(minimum_jobs=0, maximum_jobs=3)
        assert "(adaptive, 0 to 3)" in repr(made)
        assert "0 to 3 nodes, 0 requested" in repr(adaptive)
        assert "0 to 3 nodes" in adaptive._repr_html_()
        made.scale(0)
        assert "adaptive" not in repr(made)
        assert "off" in repr(adaptive)


def test_the_table_explains_the_present_nodes(shared: Path) -> None:
    """Also at once after a change, and after the end."""
    with cluster(shared, jobs=0) as made:
        assert "no nodes requested" in made._repr_html_()
        made.scale(jobs=1)
        made.wait_for_workers(1)
        assert "no nodes requested" not in made._repr_html_()
    assert "&#160; closed &#160;" in made._repr_html_()


async def test_a_cluster_that_is_not_open_yet_has_a_repr(shared: Path) -> None:
    """Errors name clusters; a repr must not make another one."""
    made = cluster(shared, jobs=0, asynchronous=True)
    assert repr(made).startswith("GridEngineCluster(")
    assert "requested" not in repr(made)
    with pytest.raises(ClusterNotRunning, match="await"):
        made.timeline()
    async with made:
        assert "no nodes requested" in repr(made)


def cluster(shared: Path, **options: Any) -> GridEngineCluster:
    given: dict[str, Any] = {
        "launcher": "process",
        "slots": 2,
        "shared_directory": shared,
        "quiet": True,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
    }
    return GridEngineCluster(**{**given, **options})


def test_a_client_shows_the_address_of_the_scheduler(shared: Path) -> None:
    """Client's own picture is the cluster's, and other clusters' have it."""
    with running(shared) as cluster, Client(cluster) as client:
        assert client.scheduler_info()["address"] in client._repr_html_()
    assert "tls://" not in cluster._repr_html_()
