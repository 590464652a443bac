"""Thousands of nodes say hello at once: real sockets, CURVE, messages and scheduler.

    python benchmarks/admission.py [NODES]

Two processes play the nodes, each a socket with a handshake and an identity of its own.
Bootstrap server, scheduler and registry are the cluster's; the grid is simulated. A
third process is a client of the scheduler and measures its response time meanwhile, by
the duration of a heartbeat. All of them share the cores of this machine, so wall time
depends on the players. The rate of one core is the number of nodes over the CPU time of
the cluster's process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import zmq
import zmq.asyncio
from admission_floor import bytes_a_peer
from distributed import Client
from paper import paper, say

sys.path.insert(0, str(Path(__file__).parents[1]))

from dask_gridengine import GridEngineCluster
from dask_gridengine.bootstrap.codec import MAX_FROM_CLUSTER, decode, encode
from dask_gridengine.bootstrap.connection_file import FILE_NAME, Connection
from tests.samples import hello

PLAYERS = 2
BEAT = 0.02  # seconds between two heartbeats of the client
#: The scheduler answers that it does not know this worker, as fast as for a known one.
HEARTBEAT: dict[str, Any] = {
    "address": "tls://127.0.0.1:9",
    "now": 0.0,
    "metrics": {},
    "executing": {},
    "extensions": {},
}
HOSTS = 500
MAX_IMPORTING = 100
RATE, MEMORY = 1000, 20e3  # goals: nodes per second and core, bytes per waiting node


class Player:
    """Many nodes in one process."""

    def __init__(self, connection: Connection, job: str, submission_id: str) -> None:
        self._connection, self._job, self._submission_id = (
            connection,
            job,
            submission_id,
        )
        self._context = zmq.asyncio.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 65_000)
        self._sockets: dict[int, zmq.asyncio.Socket] = {}

    async def arrive(self, index: int) -> tuple[float, str, str]:
        """Seconds until the first answer, its kind, and the worker's name in it."""
        keys = self._connection
        dealer = self._context.socket(zmq.DEALER)
        dealer.linger = 0
        dealer.curve_serverkey = keys.server_key.encode()
        dealer.curve_publickey = keys.node_keys.public.encode()
        dealer.curve_secretkey = keys.node_keys.secret.encode()
        self._sockets[index] = dealer
        began = time.perf_counter()
        dealer.connect(f"tcp://{keys.addresses[0]}")
        greeting = hello(
            job=self._job,
            index=index,
            submission_id=self._submission_id,
            process_token=f"{index:016x}",
            host=f"node{index % HOSTS}",
        )
        await dealer.send(encode(greeting))
        frame = await dealer.recv()
        took = time.perf_counter() - began
        answer = decode(frame, MAX_FROM_CLUSTER)
        assert answer.process_token == greeting.process_token
        return took, answer.kind, getattr(answer, "name", "")

    def leave(self) -> None:
        for dealer in self._sockets.values():
            dealer.close()
        self._context.destroy(linger=0)


async def play(
    folder: str, job: str, submission_id: str, first: int, count: int
) -> None:
    """Say hello for all of these after a line of input, print the answers, and stay."""
    player = Player(Connection.read(Path(folder, FILE_NAME)), job, submission_id)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    asked = [player.arrive(i) for i in range(first, first + count)]
    print(json.dumps(await asyncio.gather(*asked)), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    player.leave()


async def beat(scheduler_file: str) -> None:
    """Send heartbeats until a line of input; print the duration of each."""
    options = json.loads(sys.stdin.readline())
    from distributed.security import Security

    async with Client(
        scheduler_file, security=Security(**options), asynchronous=True
    ) as client:
        print("ready", flush=True)
        line = asyncio.ensure_future(asyncio.to_thread(sys.stdin.readline))
        took = []
        while not line.done():
            began = time.perf_counter()
            await client.scheduler.heartbeat_worker(**HEARTBEAT)
            took.append(time.perf_counter() - began)
            await asyncio.sleep(BEAT)
        print(json.dumps(took), flush=True)


class Part:
    """A process of this file, which waits for a line of input to begin."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, *arguments: object, first: str = "") -> Part:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**26,
        )
        part = cls(process)
        if first:
            part.tell(first)
        assert await part.line() == "ready"
        return part

    def tell(self, text: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await self._process.stdout.readline()).decode().strip()

    async def end(self) -> None:
        self.tell()
        await self._process.wait()


def cpu() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def beats(cluster: Any, meanwhile: Any) -> tuple[list[float], Any]:
    """Run something, and return the durations of heartbeats meanwhile."""
    keys = cluster.security.get_connection_args("client")["ssl_context"]
    assert keys is not None
    security = {
        "tls_ca_file": cluster.security.tls_ca_file,
        "tls_client_cert": cluster.security.tls_client_cert,
        "tls_client_key": cluster.security.tls_client_key,
        "require_encryption": True,
    }
    heart = await Part.start(
        "beat", cluster.scheduler_address, first=json.dumps(security)
    )
    result = await meanwhile
    heart.tell()
    took = json.loads(await heart.line())
    await heart.end()
    return took, result


async def arrive(players: list[Part]) -> tuple[float, float, list[Any]]:
    """Let all nodes arrive; return seconds, seconds of our CPU, and the answers."""
    before, began = cpu(), time.perf_counter()
    for player in players:
        player.tell()
    answers = [
        json.loads(line) for line in await asyncio.gather(*(p.line() for p in players))
    ]
    took = time.perf_counter() - began
    return took, cpu() - before, [answer for part in answers for answer in part]


async def main(count: int) -> None:
    logging.getLogger("dask_gridengine").setLevel(logging.ERROR)
    process = psutil.Process()
    with paper():
        async with GridEngineCluster(
            jobs=count,
            launcher="drmaa",
            asynchronous=True,
            quiet=True,
            silence_logs=logging.CRITICAL,
            max_importing=MAX_IMPORTING,
            host="127.0.0.1",
            scheduler_options={"dashboard_address": ":0"},
        ) as cluster:
            fleet = cluster.pool()
            first = next(iter(fleet.registry))
            share = count // PLAYERS
            players = await asyncio.gather(
                *(
                    Part.start(
                        "play",
                        fleet.directory,
                        first.id.job,
                        first.submission_id,
                        1 + i * share,
                        share,
                    )
                    for i in range(PLAYERS)
                )
            )
            calm, _ = await beats(cluster, asyncio.sleep(3))
            memory = process.memory_info().rss
            busy, (took, spent, answers) = await beats(cluster, arrive(players))
            memory = process.memory_info().rss - memory
            report(count, took, spent, memory, answers, calm, busy)
            await asyncio.gather(*(player.end() for player in players))


def report(
    count: int,
    took: float,
    spent: float,
    memory: int,
    answers: list[Any],
    calm: list[float],
    busy: list[float],
) -> None:
    """Print a line for each goal."""
    kinds = Counter(kind for _, kind, _ in answers)
    names = [name for _, _, name in answers if name]
    waits = [seconds for seconds, _, _ in answers]
    each = memory / count
    rate = count / spent
    print(f"{count} nodes at once, played by {PLAYERS} processes")
    say("answered", f"{len(answers)}", len(answers) == count)
    say(f"answers: {dict(kinds)}", "", kinds["allocation"] == MAX_IMPORTING)
    say(
        "names allocated twice",
        f"{len(names) - len(set(names))}",
        len(names) == len(set(names)),
    )
    say("all answered after", f"{took:.2f} s")
    say("nodes per second and core of the cluster", f"{rate:.0f}", rate >= RATE)
    say("an answer took, median", f"{percentile(waits, 0.5):.2f} s")
    say("an answer took, 99th percentile", f"{percentile(waits, 0.99):.2f} s")
    say("memory per waiting node", f"{each / 1e3:.1f} kB", each < MEMORY)
    say("of that by libzmq alone", f"{bytes_a_peer(2000) / 1e3:.1f} kB")
    for when, beats in (("idle", calm), ("nodes arrive", busy)):
        for name, share in (("median", 0.5), ("99th percentile", 0.99)):
            took = percentile(beats, share) * 1e3
            say(f"a heartbeat while {when}, {name}", f"{took:.1f} ms")


if __name__ == "__main__":
    if sys.argv[1:2] == ["play"]:
        folder, job, submission_id, first, many = sys.argv[2:]
        asyncio.run(play(folder, job, submission_id, int(first), int(many)))
    elif sys.argv[1:2] == ["beat"]:
        asyncio.run(beat(sys.argv[2]))
    else:
        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument("nodes", type=int, nargs="?", default=10_000)
        asyncio.run(main(parser.parse_args().nodes))
