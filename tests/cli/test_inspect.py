"""``ps``, ``explain`` and ``logs`` with one running cluster and one that is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.cli import gridengine
from tests.clusters import left_behind, running, typed

pytestmark = pytest.mark.keeps_cluster


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module", autouse=True)
def cluster(place: Path) -> Iterator[GridEngineCluster]:
    """A cluster with a worker, beside the files of a cluster that is gone."""
    left_behind(place, "lost")
    with running(place, jobs=1) as cluster:
        cluster.wait_for_workers(1)
        yield cluster


def output_of(place: Path, command: str, *arguments: str, status: int = 0) -> str:
    ended = typed(command, *arguments, "--shared-directory", str(place))
    assert ended.exit_code == status, ended.output
    return ended.output


def test_ps_lists_both(place: Path, cluster: GridEngineCluster) -> None:
    """A running cluster reports its nodes and tasks; for the other one the output has
    the command to type. A pipe gets no colours."""
    with Client(cluster) as client:
        kept = client.submit(sum, [1, 2])
        assert kept.result() == 3
        output = output_of(place, "ps")
    lines = output.splitlines()
    assert lines[0].split()[:3] == ["CLUSTER", "MANAGER", "ON"]
    (mine,) = (line for line in lines if line.startswith("mine "))
    assert "alive" in mine
    assert "1 working" in mine
    assert mine.endswith("1 done")
    (lost,) = (line for line in lines if line.startswith("lost "))
    assert "gone" in lost
    assert "dask gridengine kill lost" in output
    assert "\x1b" not in output


def test_ps_for_programs(place: Path) -> None:
    """The JSON has all that the running cluster reports."""
    by_name = {c["cluster"]: c for c in json.loads(output_of(place, "ps", "--json"))}
    assert by_name["mine"]["status"]["states"] == {"working": 1}
    assert by_name["lost"]["manager"] == "gone"


def test_ps_without_clusters(tmp_path: Path) -> None:
    """The output names the directory that was searched."""
    assert str(tmp_path) in output_of(tmp_path, "ps")


def test_explain(place: Path) -> None:
    """It explains all clusters, or one node; an unknown node or cluster is an error."""
    output = output_of(place, "explain")
    assert "1 working" in output
    assert "its manager is gone" in output
    mine = ("explain", "--cluster", "mine")
    assert output_of(place, *mine, "ge-0").startswith("node 1.1")
    assert "ge-9" in output_of(place, *mine, "ge-9", status=1)
    assert "lost" in output_of(place, "explain", "--cluster", "x", status=1)


def test_logs(place: Path) -> None:
    """Logs of workers, and of the nodes of a cluster that is gone."""
    output = output_of(place, "logs", "--cluster", "mine", "ge-0")
    assert "==> ge-0 <==" in output
    assert "Registered to" in output
    assert "the last words" in output_of(place, "logs", "--cluster", "lost", "7.1")
    assert len(output_of(place, "logs", "--cluster", "mine", "--lines", "0")) < 500
    assert "9.9" in output_of(place, "logs", "--cluster", "mine", "9.9", status=1)


def test_shell_completion(place: Path) -> None:
    """Clusters and jobs are found by files; no cluster gets a request."""
    shell = ShellComplete(gridengine, {}, "dask", "_DASK_COMPLETE")

    def completed(*words: str) -> list[str]:
        return [item.value for item in shell.get_completions([*words], "")]

    where = ("--shared-directory", str(place))
    assert sorted(completed("kill", *where)) == ["lost", "mine"]
    assert "7.1" in completed("explain", *where)
    assert "queue=" in completed("up", "-o")
    assert "queue" in completed("config")


@pytest.mark.parametrize(
    "command", ["up", "ps", "explain", "logs", "kill", "demo", "config", "doctor"]
)
def test_every_command_has_an_example(command: str) -> None:
    """--help ends with lines that can be pasted."""
    assert f"\n    dask gridengine {command}" in typed(command, "--help").output
