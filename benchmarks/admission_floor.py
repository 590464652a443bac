"""The memory that libzmq alone needs for a connected peer of a ROUTER with CURVE.

python benchmarks/admission_floor.py [PEERS]
"""

from __future__ import annotations

import subprocess
import sys

import psutil
import zmq

MESSAGE, ANSWER = b"h" * 450, b"w" * 150  # bytes of a hello, and of a "wait"


def bytes_a_peer(peers: int) -> float:
    """Measure the bytes of this process for each peer that waits."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 65_000)
    public, secret = zmq.curve_keypair()
    router = context.socket(zmq.ROUTER)
    router.curve_server, router.curve_secretkey = True, secret
    router.backlog = 4096
    port = router.bind_to_random_port("tcp://127.0.0.1")
    before = psutil.Process().memory_info().rss
    arguments = [sys.executable, __file__, "peers", str(peers), str(port)]
    with subprocess.Popen([*arguments, public.decode()], stdin=subprocess.PIPE) as them:
        for _ in range(peers):
            peer, _ = router.recv_multipart()
            router.send_multipart([peer, ANSWER])
        held = psutil.Process().memory_info().rss - before
        assert them.stdin is not None
        them.stdin.close()
    context.destroy(linger=0)
    return held / peers


def be_peers(count: int, port: str, server_key: str) -> None:
    """Send a message from each peer, and stay until the server ends."""
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 65_000)
    for _ in range(count):
        dealer = context.socket(zmq.DEALER)
        dealer.curve_serverkey = server_key.encode()
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.connect(f"tcp://127.0.0.1:{port}")
        dealer.send(MESSAGE)
    sys.stdin.read()
    context.destroy(linger=0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peers"]:
        be_peers(int(sys.argv[2]), *sys.argv[3:])
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
        print(f"{bytes_a_peer(count) / 1e3:.1f} kB a peer, of {count}")
