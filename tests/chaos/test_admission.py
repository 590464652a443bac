"""The bootstrap port under attack, by a process that has the nodes' keys."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import random
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from distributed import Client

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.client import send
from dask_gridengine.bootstrap.codec import MAX_FROM_NODE, decode, encode
from dask_gridengine.bootstrap.connection_file import Connection, CurveKeys
from dask_gridengine.bootstrap.messages import Hello
from tests.chaos.tasks import slow_identity
from tests.samples import allocation, exit_report, hello
from tests.waiting import wait_until

FRAMES, IDLE = 10_000, 1_000
PEERS = 20  # sockets that send them
MEMORY = 100 * 2**20  # bytes that a flood may occupy; the frames have 130 MB


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "slots": 3}


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Limit the open files as most systems do."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def connection(shared: Path) -> Connection:
    """Read the connection file of the only cluster."""
    (file,) = shared.glob("*/connection.json")
    return Connection.read(file)


@contextlib.contextmanager
def dealer(
    context: zmq.Context[zmq.Socket[bytes]],
    to: Connection,
    keys: CurveKeys | None = None,
) -> Iterator[zmq.Socket[bytes]]:
    """Open a node's socket, with the keys of a node or with others."""
    keys = keys or to.node_keys
    with context.socket(zmq.DEALER) as made:
        made.linger = 0
        made.curve_serverkey = to.server_key.encode()
        made.curve_publickey = keys.public.encode()
        made.curve_secretkey = keys.secret.encode()
        made.connect(f"tcp://{to.addresses[0]}")
        yield made


class Exploit:
    """Unpickling it makes a directory."""

    def __init__(self, proof: Path) -> None:
        self._proof = proof

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self._proof),)


def frames(rng: random.Random, proof: Path) -> Iterator[list[bytes]]:
    """Yield messages that no node of this cluster would send, without end."""
    valid = [encode(hello(job="999999")), encode(exit_report(job="999999"))]
    poison = pickle.dumps(Exploit(proof))
    while True:
        message = rng.choice(valid)
        yield from (
            [rng.randbytes(rng.randrange(2000))],
            [message[: rng.randrange(len(message))]],
            [message.replace(b'"', rng.randbytes(1), rng.randrange(1, 9))],
            [message],  # of an unknown node, again and again
            [rng.randbytes(rng.randrange(MAX_FROM_NODE + 1, 2 * MAX_FROM_NODE))],
            [message, message],
            [poison],
            [encode(allocation())],
        )


def intrude(file: Path, proof: Path) -> None:
    """Open idle connections, send frames, report that, and stay until stdin ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    to, rng = Connection.read(file), random.Random(7)
    host, _, port = to.addresses[0].rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(IDLE):
            idle = socket.create_connection((host, int(port)), timeout=10)
            stack.enter_context(idle)
        context = stack.enter_context(zmq.Context())
        peers = [stack.enter_context(dealer(context, to)) for _ in range(PEERS)]
        tell("starts")
        for count, parts in enumerate(frames(rng, proof)):
            if count == FRAMES:
                break
            peers[count % PEERS].send_multipart(parts)
        # Too long for libzmq itself, which disconnects the sender.
        with dealer(context, to) as flooder:
            flooder.send(b" " * (8 * MAX_FROM_NODE))
            tell("has sent")
            sys.stdin.read()


def tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@pytest.fixture
def intruder(shared: Path, tmp_path: Path) -> Iterator[Any]:
    """Start `intrude` in another process; it must leave no proof of success."""
    proof = tmp_path / "unpickled"
    with contextlib.ExitStack() as stack:

        def start() -> subprocess.Popen[bytes]:
            (file,) = shared.glob("*/connection.json")
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(file), str(proof)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start
    assert not proof.exists()


def dropped(caplog: pytest.LogCaptureFixture) -> Counter[str]:
    """Count the visible log lines of the server by kind."""
    return Counter(
        record.getMessage().split(":")[0]
        for record in caplog.records
        if record.name == "dask_gridengine.bootstrap.server"
        and record.levelno >= logging.WARNING
    )


@pytest.mark.usefixtures("few_descriptors")
def test_a_flood_keeps_no_node_out(
    options: dict[str, Any],
    shared: Path,
    intruder: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """10,000 bad frames and 1,000 idle connections while nodes start: each node gets
    one worker, nothing is unpickled, memory and log stay bounded."""
    with (
        GridEngineCluster(jobs=0, **options) as cluster,
        Client(cluster) as client,
    ):
        before = psutil.Process().memory_info().rss
        attack = intruder()
        assert attack.stdout.readline() == b"starts\n"
        cluster.scale(3)
        client.wait_for_workers(3, timeout=30)
        assert attack.stdout.readline() == b"has sent\n"
        counts = cluster.pool().bootstrap.counts
        bad = ("malformed", "oversized", "out of order", "rejected", "exit_report")
        wait_until(
            lambda: sum(counts[kind] for kind in bad) >= FRAMES,
            "all frames checked",
            30,
            lambda: counts,
        )
        assert sum(counts[kind] for kind in bad) == FRAMES
        assert counts["allocation"] == 3
        assert counts["error"] == 0
        numbers = client.map(slow_identity, range(100), seconds=0)
        assert client.gather(numbers) == list(range(100))
        rows = cluster.jobs()
        assert sorted(row.worker or "" for row in rows) == ["ge-0", "ge-1", "ge-2"]
        assert rows.counts() == {"working": 3}
        assert psutil.Process().memory_info().rss - before < MEMORY
        # The idle connections are still open.
        cluster.scale(0)
        wait_until(lambda: cluster.jobs().counts() == {"gone": 3}, "all gone", 20)
        cluster.scale(1)
        client.wait_for_workers(1, timeout=30)
        attack.stdin.close()
        assert attack.wait(10) == 0
    lines = dropped(caplog)
    assert set(lines.values()) == {1}
    assert len(lines) == 3  # malformed, oversized, out of order
    assert list(shared.iterdir()) == []


def test_a_nodes_identity_serves_once(options: dict[str, Any], shared: Path) -> None:
    """Hellos and exit reports of working nodes, replayed or forged, have no effect."""
    with (
        GridEngineCluster(jobs=2, **options) as cluster,
        Client(cluster) as client,
        zmq.Context() as context,
    ):
        client.wait_for_workers(2, timeout=30)
        to = connection(shared)
        with dealer(context, to) as replay:
            answers: Counter[str] = Counter()
            for sent in hellos_of(cluster):
                for greeting in (sent, replace(sent, process_token="f" * 16)):
                    for _ in range(10):
                        replay.send(encode(greeting))
                        assert replay.poll(5000)
                        answer = decode(replay.recv())
                        answers[answer.kind] += 1
                replay.send(
                    encode(
                        exit_report(
                            job=sent.job, index=sent.index, process_token="f" * 16
                        )
                    )
                )
            assert answers == {"rejected": 40}
        with dealer(context, to, CurveKeys.generate()) as stranger:
            # libzmq may have been rejected already, then it sends nothing.
            send(stranger, sent)
            assert not stranger.poll(300)
        counts = cluster.pool().bootstrap.counts
        wait_until(
            lambda: counts["exit_report"] == 2, "the exit reports", 5, lambda: counts
        )
        numbers = client.map(slow_identity, range(100), seconds=0)
        assert client.gather(numbers) == list(range(100))
        assert cluster.jobs().counts() == {"working": 2}
        assert "2 nodes requested: 2 working" in cluster.explain()
        assert counts["allocation"] == 2
    assert list(shared.iterdir()) == []


def hellos_of(cluster: GridEngineCluster) -> list[Hello]:
    """Rebuild the hellos of the nodes."""
    return [
        hello(
            job=record.id.job,
            index=record.id.index,
            process_token=record.process_token,
            host=record.host,
            pid=record.pid,
        )
        for record in cluster.pool().registry
    ]


if __name__ == "__main__":
    intrude(Path(sys.argv[1]), Path(sys.argv[2]))
