"""The session's end of the pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId
from dask_gridengine.launchers.child import end_fields, remove_shared_directory
from dask_gridengine.launchers.protocol import decode, encode, unpack

PRELUDE = """
import os, sys
from dask_gridengine.launchers.child import ParentPipe, parse_arguments
pipe = ParentPipe(parse_arguments(sys.argv[1:]).parent)
"""


def run_child(program: str, said: bytes, parent: int | None = None) -> list[bytes]:
    """Run a program with a ParentPipe named ``pipe``; the lines it said."""
    parent = os.getpid() if parent is None else parent
    command = [sys.executable, "-c", PRELUDE + program, "--parent", str(parent)]
    ran = subprocess.run(command, input=said, stdout=subprocess.PIPE, timeout=20)
    assert ran.returncode == 0
    return ran.stdout.splitlines()


def test_what_a_library_prints_is_no_message() -> None:
    """It goes to stderr, from Python or from C, and cannot read our input either."""
    said = run_child(
        "print('chatter', flush=True)\n"
        "os.system('echo chatter; cat')\n"
        "(message,) = pipe.receive()\n"
        "pipe.send('echo', text=message['text'])\n",
        b'{"kind": "hear", "text": "me"}\n',
    )
    assert said == [b'{"kind": "echo", "text": "me"}']


def test_messages_come_whole_however_they_are_cut() -> None:
    """Half a line waits for its other half; no more input means no parent."""
    lines = [json.dumps({"kind": "n", "pad": "x" * n}).encode() for n in (1, 10**6, 5)]
    said = run_child(
        "while not pipe.parent_gone:\n"
        "    for message in pipe.receive():\n"
        "        pipe.send('got', length=len(message['pad']))\n",
        b"\n".join(lines) + b"\n",
    )
    assert [json.loads(line)["length"] for line in said] == [1, 10**6, 5]


def test_a_parent_is_gone_when_its_process_id_is_not_ours() -> None:
    """A fork of it may hold the pipe open: an open pipe is no proof of life."""
    assert run_child("pipe.send('gone' if pipe.parent_gone else 'there')", b"") == [
        b'{"kind": "there"}'
    ]
    assert run_child(
        "pipe.send('gone' if pipe.parent_gone else 'there')", b"", parent=1
    ) == [b'{"kind": "gone"}']


def test_a_parent_that_lives_is_waited_for_but_not_for_ever() -> None:
    """Its pipe closes a moment before it ends; or it has only let go of us."""
    said = run_child(
        "list(pipe.receive())\npipe.send(str(pipe.outlives_parent(timeout=0.1)))", b""
    )
    assert said == [b'{"kind": "False"}']


def test_speaking_to_nobody_is_no_error() -> None:
    """The session has jobs to delete; a broken pipe must not stop it."""
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


def test_an_end_becomes_the_fields_of_a_message() -> None:
    """Everything but the node as it is; the node as ranges, as everywhere."""
    end = EndNotice(
        node=NodeId("3", 2),
        signal="SIGKILL",
        reason="late",
        ran=0.0,
        peak_memory=10**13,
        deleted=True,
        unstarted=True,
    )
    fields = decode(encode("end", **end_fields(end)))
    assert fields.pop("kind") == "end"
    (node,) = unpack(fields.pop("nodes"))
    assert EndNotice(node=node, **fields) == end


def test_what_a_cluster_put_there_is_removed(tmp_path: Path) -> None:
    """The connection file, the logs, and the directory when that was all."""
    shared = tmp_path / "dask-1"
    (shared / "logs").mkdir(parents=True)
    (shared / "logs" / "1.1.log").write_text("x")
    (shared / "connection.json").write_text("{}")
    remove_shared_directory(shared)
    assert not shared.exists()


@pytest.mark.parametrize("names", [["results.csv"], ["logs", "results.csv"]])
def test_what_is_not_a_clusters_directory_is_left_alone(
    tmp_path: Path, names: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A wrong path must not cost anybody data, not even a directory of logs."""
    for name in names:
        (tmp_path / name).write_text("x")
    remove_shared_directory(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert f"could not remove {tmp_path}" in capfd.readouterr().err


def test_a_users_file_beside_ours_stays(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Then the directory stays too, and only our own names go."""
    (tmp_path / "connection.json").write_text("{}")
    (tmp_path / "results.csv").write_text("x")
    remove_shared_directory(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]
    assert "could not remove" in capfd.readouterr().err


def test_no_directory_is_no_error(tmp_path: Path) -> None:
    """None was named, or somebody was quicker."""
    remove_shared_directory(None)
    remove_shared_directory(tmp_path / "gone")
