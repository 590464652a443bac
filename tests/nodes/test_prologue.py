"""The user's shell lines before Python, on local processes and in each shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dask_gridengine import NodesFailed
from dask_gridengine.nodes.prologue import commands, shell_lines
from dask_gridengine.worker.prologue import failures_in
from tests.clusters import running

SHELLS = [["dash"], ["bash", "--posix"]]


def test_lines_that_belong_together_stay_together() -> None:
    """Here-documents, loops, continued lines; each other line is by itself."""
    together = [
        "cat <<END\nif [\nEND",
        "while false; do\n:\ndone",
        "echo a \\\nb",
        "# x",
    ]
    lines = [line for command in together for line in command.split("\n")]
    assert list(commands(lines)) == together
    assert list(commands(["cd /", "if ["])) == ["cd /", "if ["]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: shell[0])
def test_failures_are_named_and_the_rest_goes_on(
    shell: list[str], tmp_path: Path
) -> None:
    """Also after an error of "." or of the syntax, which would end a shell."""
    if shutil.which(shell[0]) is None:
        pytest.skip(f"no {shell[0]} here")
    lines = [". /no/such.sh", "export A='it is'", "false # b", "if ["]
    text = "\n".join([*shell_lines(lines), 'echo "$A here"'])
    done = subprocess.run(
        [*shell, "-c", text],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("it is here\n")
    failed = [failure.partition(" (")[0] for failure in failures_in(done.stdout)]
    assert [what.partition(": ")[2] for what in failed] == [
        ". /no/such.sh",
        "false # b",
        "if [",
    ]


def test_a_failed_line_is_reported_and_the_worker_starts(
    shared: Path, tmp_path: Path
) -> None:
    """With its output: to the user once, for each node, and in its log."""
    lines = ["echo before", "source /no/env.sh", "sh -c 'echo why >&2; exit 9'"]
    logs = tmp_path / "logs"
    with running(
        shared, jobs=2, slots=2, log_directory=logs, job_script_prologue=lines
    ) as cluster:
        cluster.wait_for_workers(2, timeout=60)
        everything = cluster.explain()
        node = cluster.explain("ge-0")
        log = next(logs.iterdir()).read_text()
        decided = [text for _, text in cluster._cluster_manager_logs]
    for text in (everything, node):
        assert "source /no/env.sh" in text
        # Where /bin/sh is bash there is "source", and the file is what is missing.
        assert "'. FILE'" in text or "No such file" in text
        assert "status 9" in text
        assert "why" in text
    assert "status 9: sh -c" in log
    assert sum("status 9" in text for text in decided) == 1


@pytest.mark.parametrize(
    "lines",
    [
        ["true", "false || exit 1"],
        ["set -e", "true", "sh -c false"],
        [". /no/false.sh || exit 1"],  # in some shells "." ends the line itself
    ],
)
def test_a_line_can_be_made_fatal(shared: Path, lines: list[str]) -> None:
    """``line || exit 1``, or ``set -e``: the cause names the line."""
    with (
        running(shared, jobs=1, job_script_prologue=lines) as cluster,
        pytest.raises(NodesFailed, match=r"job_script_prologue.*false"),
    ):
        cluster.wait_for_workers(1, timeout=90)
