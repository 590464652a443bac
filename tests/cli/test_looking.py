"""``ps``, ``explain``, ``logs``: one cluster that lives, and one that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.cli import gridengine
from dask_gridengine.cli.tables import format_answer, since
from tests.clusters import left_behind, running, typed

pytestmark = pytest.mark.keeps_cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module", autouse=True)
def cluster(place: Path) -> Iterator[GridEngineCluster]:
    """It has a worker; beside it lies what is left of one that is gone."""
    left_behind(place, "lost")
    with running(place, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        yield cluster


def said(place: Path, command: str, *arguments: str, status: int = 0) -> str:
    ended = typed(command, *arguments, "--shared-directory", str(place))
    assert ended.exit_code == status, ended.output
    return ended.output


def test_ps_lists_both(place: Path, cluster: GridEngineCluster) -> None:
    """Who lives is asked; of who is gone it is said why, and what to type. In a pipe
    there are no colours."""
    with Client(cluster) as client:
        kept = client.submit(sum, [1, 2])
        assert kept.result() == 3
        told = said(place, "ps")
    lines = told.splitlines()
    assert lines[0].split()[:3] == ["CLUSTER", "MANAGER", "ON"]
    (mine,) = (line for line in lines if line.startswith("mine "))
    assert "alive" in mine
    assert "1 working" in mine
    assert mine.endswith("1 done")
    (lost,) = (line for line in lines if line.startswith("lost "))
    assert "gone" in lost
    assert "dask gridengine kill lost" in told
    assert "\x1b" not in told


def test_ps_for_programs(place: Path) -> None:
    """The same as JSON, with all that a cluster says of itself."""
    mine, lost = sorted(
        json.loads(said(place, "ps", "--json")), key=lambda c: -len(c["cluster"])
    )[:2]
    by_name = {c["cluster"]: c for c in (mine, lost)}
    assert by_name["mine"]["status"]["states"] == {"working": 1}
    assert by_name["lost"]["manager"] == "gone"


def test_ps_where_there_is_none(tmp_path: Path) -> None:
    """It says where it looked, and whether it looked for jobs."""
    assert f"none in {tmp_path}" in said(tmp_path, "ps")


def test_explain(place: Path) -> None:
    """All of both; or a node, by its name or job; of one that never was, who asks."""
    told = said(place, "explain")
    assert "1 node is wanted: 1 working" in told
    assert "its manager is gone" in told
    assert said(place, "explain", "--cluster", "mine", "ge-0").startswith("node 1.1")
    assert "never had" in said(place, "explain", "--cluster", "mine", "ge-9", status=1)
    assert "no cluster 'x'; there are: " in said(
        place, "explain", "--cluster", "x", status=1
    )


def test_logs(place: Path) -> None:
    """Of a cluster's workers; and what the nodes of one that is gone have written."""
    told = said(place, "logs", "--cluster", "mine", "ge-0")
    assert "==> ge-0 <==" in told
    assert "Registered to" in told
    assert "the last words" in said(place, "logs", "--cluster", "lost", "7.1")
    assert len(said(place, "logs", "--cluster", "mine", "--lines", "0")) < 500
    assert "never had" in said(place, "logs", "--cluster", "mine", "9.9", status=1)


def test_the_shell_completes_clusters_and_jobs(place: Path) -> None:
    """By the files there are; nobody is asked."""
    shell = ShellComplete(gridengine, {}, "dask", "_DASK_COMPLETE")

    def completed(*words: str) -> list[str]:
        where = [words[0], "--shared-directory", str(place), *words[1:]]
        return [item.value for item in shell.get_completions(where, "")]

    assert sorted(completed("kill")) == ["lost", "mine"]
    assert "7.1" in completed("explain")
    assert "queue=" in completed("up", "-o")


@pytest.mark.parametrize(
    "command", ["up", "ps", "explain", "logs", "kill", "demo", "config", "doctor"]
)
def test_every_command_has_an_example(command: str) -> None:
    """--help ends with lines that can be pasted."""
    told = typed(command, "--help").output
    assert "Example" in told
    assert f"\n    dask gridengine {command}" in told or (
        f"\n  dask gridengine {command}" in told
    )


def test_words() -> None:
    """Numbers and times as people say them."""
    assert format_answer({"queued": 3, "working": 0, "gone": 1}) == "3 queued, 1 gone"
    assert [since(s) for s in (5, 65, 3700, 90_000)] == [
        "5 s",
        "1 min 5 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
