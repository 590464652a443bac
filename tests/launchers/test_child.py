"""The child's side of the pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dask_gridengine.launchers.child import remove_shared_directory
from dask_gridengine.launchers.messages import decode

PRELUDE = """
import os, sys
from dask_gridengine.launchers.child import ParentPipe, parse_arguments
pipe = ParentPipe(parse_arguments(sys.argv[1:]).parent)
"""


def run_child(program: str, sent: bytes, parent: int | None = None) -> list[bytes]:
    """Run a program with a ParentPipe named ``pipe``; return the lines it sent."""
    parent = os.getpid() if parent is None else parent
    command = [sys.executable, "-c", PRELUDE + program, "--parent", str(parent)]
    ran = subprocess.run(command, input=sent, stdout=subprocess.PIPE, timeout=20)
    assert ran.returncode == 0
    return ran.stdout.splitlines()


def test_output_of_a_library_is_not_a_message() -> None:
    """It goes to stderr, from Python or from C; a library cannot read our input."""
    received = run_child(
        "print('chatter', flush=True)\n"
        "os.system('echo chatter; cat')\n"
        "(message,) = pipe.receive()\n"
        "pipe.send('echo', text=message['text'])\n",
        b'{"kind": "x", "text": "me"}\n',
    )
    assert received == [b'{"kind": "echo", "text": "me"}']


def test_messages_arrive_in_any_pieces() -> None:
    """Half a line waits for its other half; the end of input is the parent's end."""
    lines = [json.dumps({"kind": "n", "pad": "x" * n}).encode() for n in (1, 10**6, 5)]
    received = run_child(
        "while not pipe.parent_gone:\n"
        "    for message in pipe.receive():\n"
        "        pipe.send('got', length=len(message['pad']))\n",
        b"\n".join(lines) + b"\n",
    )
    assert [json.loads(line)["length"] for line in received] == [1, 10**6, 5]


@pytest.mark.parametrize(("parent", "gone"), [(None, "False"), (1, "True")])
def test_a_parent_with_another_process_id_is_gone(
    parent: int | None, gone: str
) -> None:
    """An open pipe proves nothing: a fork of the parent may hold it open."""
    (line,) = run_child("pipe.send(str(pipe.parent_gone))", b"", parent)
    assert decode(line)["kind"] == gone


def test_a_broken_pipe_is_not_an_error() -> None:
    """The child has jobs to delete, and a broken pipe must not stop it."""
    program = "[pipe.send('x', p='y' * 10**5) for _ in '123']"
    command = [sys.executable, "-c", PRELUDE + program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        child.stdin.close()
        assert child.wait(timeout=10) == 0
        assert child.stderr.read() == b""


def test_a_dead_clusters_files_are_removed(tmp_path: Path) -> None:
    """The connection file, the logs, and the directory if nothing else is in it."""
    shared = tmp_path / "dask-1"
    (shared / "logs").mkdir(parents=True)
    (shared / "logs" / "1.1.log").write_text("x")
    (shared / "connection.json").write_text("{}")
    remove_shared_directory(shared)
    assert not shared.exists()


@pytest.mark.parametrize("names", [["results.csv"], ["logs", "results.csv"]])
def test_other_directories_are_not_touched(
    tmp_path: Path, names: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong path must not delete a user's data, not even a directory of logs."""
    for name in names:
        (tmp_path / name).write_text("x")
    remove_shared_directory(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert f"could not remove {tmp_path}" in capfd.readouterr().err


def test_a_users_file_in_a_clusters_directory_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then the directory stays too, and only the cluster's files are removed."""
    (tmp_path / "connection.json").write_text("{}")
    (tmp_path / "results.csv").write_text("x")
    remove_shared_directory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    assert "could not remove" in capfd.readouterr().err
