"""The door's socket: a ROUTER with CURVE and an allow-list, in the cluster's loop.

Everything that comes in is untrusted until it has been checked: a frame that is
malformed, oversized or out of order is counted, logged once per kind, and changes
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any

import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator

from dask_gridengine.bootstrap.codec import (
    MAX_FROM_CLUSTER,
    MAX_FROM_NODE,
    decode,
    encode,
)
from dask_gridengine.bootstrap.connection_file import CurveKeys
from dask_gridengine.bootstrap.messages import (
    Answer,
    ControlReply,
    ControlRequest,
    ExitReport,
    Hello,
    Rejected,
    Wait,
)
from dask_gridengine.errors import MessageError, OptionError
from dask_gridengine.net.addresses import join
from dask_gridengine.net.ports import Ports, none_free

logger = logging.getLogger(__name__)

ZAP_DOMAIN = "gridengine"
MAX_WAITING = 100_000  # peers it remembers; who is one more is not called, but may ask
MAX_ASKING = 32  # questions of the user's under way; one more is not answered
RECEIVE_AGAIN = 0.2  # seconds after an error of the socket
MOST_REASON = 2000  # letters of an error that a node is told
BACKLOG = 4096  # connections the kernel holds while the loop is busy
#: What this process may have open, if it may have as much. Most systems begin with
#: 1024; a node is a connection here, and as a worker some at the scheduler.
DESCRIPTORS = 2**16


class _AllowList:
    """ZAP's question "who is this key?", answered from memory."""

    def __init__(self, *keys: str) -> None:
        self.allowed = {key.encode() for key in keys}

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self.allowed


class BootstrapServer:
    """Hands each node the answer to its hello.

    Parameters
    ----------
    on_hello
        Decides; see `dask_gridengine.nodes.admission.AdmissionControl.answer`.
    on_farewell
        Is told of every farewell.
    """

    def __init__(
        self,
        *,
        on_hello: Callable[[Hello], Answer],
        on_farewell: Callable[[ExitReport], None],
    ) -> None:
        self.keys = CurveKeys.generate()
        self.node_keys = CurveKeys.generate()
        #: What came in and was dropped, by reason; and what was answered, by kind.
        self.counts: Counter[str] = Counter()
        self.port = 0
        self._on_hello = on_hello
        self._on_exit_report = on_farewell
        #: Answers what the cluster's user asks, see `dask_gridengine.cluster.control`;
        #: None as long as there is nobody to answer.
        self.on_ask: Callable[[ControlRequest], Awaitable[ControlReply]] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._context: zmq.asyncio.Context | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: dict[str, bytes] = {}  # incarnation to peer

    def start(self, host: str = "0.0.0.0", ports: Ports | None = None) -> None:
        """Listen, and serve in the running event loop until `aclose`.

        Parameters
        ----------
        host
            Address to bind; all of this host's by default. "::" is those of IPv4, too.
        ports
            The first of these that is free; None takes any.

        Raises
        ------
        OptionError
            If the address cannot be bound, or no such port is free.
        """
        _allow_descriptors()
        self._context = zmq.asyncio.Context()
        self._auth = AsyncioAuthenticator(self._context)
        self._auth.start()
        allowed = _AllowList(self.node_keys.public)
        self._auth.configure_curve_callback(ZAP_DOMAIN, credentials_provider=allowed)
        socket = self._context.socket(zmq.ROUTER)
        socket.curve_server = True
        socket.curve_publickey = self.keys.public.encode()
        socket.curve_secretkey = self.keys.secret.encode()
        socket.zap_domain = ZAP_DOMAIN.encode()
        socket.ipv6 = ":" in host
        socket.backlog = BACKLOG
        socket.linger = 0
        # A second line of defence: libzmq itself cuts off who sends more.
        socket.maxmsgsize = 4 * MAX_FROM_NODE
        # An answer to a node that has gone must not stop the others' answers.
        socket.router_mandatory = False
        self._socket = socket
        try:
            self._bind(host, ports)
        except BaseException:
            self._release()
            raise
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(endpoint.rpartition(":")[2])
        self._task = asyncio.create_task(self._serve(), name="gridengine bootstrap")

    def _bind(self, host: str, ports: Ports | None) -> None:
        for port in ports or (0,):
            try:
                self._socket.bind(f"tcp://{join(host, port)}")
                return
            except zmq.ZMQError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise OptionError(
                        f"cannot listen at {join(host, port)}: {exc}; host= or"
                        " interface= must be an address of this machine, and"
                        " bootstrap_port= one that you may use"
                    ) from exc
        assert ports is not None, "the kernel has no port left"
        raise none_free("bootstrap_port", ports)

    def call(self, answers: Iterable[tuple[Hello, Answer]]) -> None:
        """Give answers to nodes that were told to wait, before they ask again.

        Parameters
        ----------
        answers
            Hellos that have come, and what their senders are to be told now. Whoever
            has gone, or never waited, is passed over.
        """
        try:
            for hello, answer in answers:
                peer = self._waiting.pop(hello.process_token, None)
                if peer is not None and self._context is not None:
                    self.counts[answer.kind] += 1
                    frames = [peer, _frame(answer)]
                    sending = asyncio.ensure_future(self._socket.send_multipart(frames))
                    sending.add_done_callback(_look_at)
        except Exception:  # noqa: BLE001 - the nodes will ask, and it will show there
            self._drop("error", "calling a node that waits failed", exc_info=True)

    async def aclose(self) -> None:
        """Stop answering and close the port. Idempotent."""
        if self._context is None:
            return
        if self._task is not None:
            tasks = [self._task, *self._asking]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._release()

    def _release(self) -> None:
        if self._context is not None:
            self._socket.close(0)
            self._auth.stop()
            self._context.destroy(linger=0)
            self._context = None

    async def _serve(self) -> None:
        while True:
            try:
                frames = await self._socket.recv_multipart()
            except Exception:  # noqa: BLE001 - else no node would be answered any more
                self._drop("error", "receiving failed", exc_info=True)
                await asyncio.sleep(RECEIVE_AGAIN)
                continue
            try:
                await self._handle(frames)
            except Exception:  # noqa: BLE001 - one peer must not close the door to all
                self._drop("error", "answering a node failed", exc_info=True)

    async def _handle(self, frames: list[bytes]) -> None:
        if len(frames) != 2:
            self._drop("malformed", f"a message of {len(frames)} frames")
            return
        peer, frame = frames
        try:
            message = decode(frame)
        except MessageError as exc:
            kind = "oversized" if len(frame) > MAX_FROM_NODE else "malformed"
            self._drop(kind, str(exc))
            return
        if isinstance(message, Hello):
            answer, frame = self._answer(message)
            self.counts[answer.kind] += 1
            self._remember(message, answer, peer)
            await self._socket.send_multipart([peer, frame])
        elif isinstance(message, ExitReport):
            self.counts[message.kind] += 1
            self._on_exit_report(message)
        elif isinstance(message, ControlRequest):
            self._take_question(message, peer)
        else:
            self._drop("out of order", f"a node sent {message.kind}")

    def _answer(self, hello: Hello) -> tuple[Answer, bytes]:
        """The answer to a node, and its frame.

        Whatever fails here, the node is told so: without an answer it would wait for
        its whole timeout and then blame the network.
        """
        try:
            answer = self._on_hello(hello)
            return answer, _frame(answer)
        except Exception as exc:  # noqa: BLE001 - it is what the node is told
            self._drop("error", "answering a node failed", exc_info=True)
            reason = f"{type(exc).__name__}: {exc}"[:MOST_REASON]
            answer = Rejected(process_token=hello.process_token, reason=reason)
            return answer, encode(answer)

    def _take_question(self, ask: ControlRequest, peer: bytes) -> None:
        # In a task of its own: a worker may take its time over its logs, and no node is
        # to wait at the door for that.
        if len(self._asking) >= MAX_ASKING:
            self._drop("busy", "the user asks too much at once")
            return
        self.counts[ask.kind] += 1
        task = asyncio.create_task(self._reply(ask, peer), name="gridengine question")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _reply(self, ask: ControlRequest, peer: bytes) -> None:
        told = ControlReply(
            process_token=ask.process_token, body={}, error="it is starting"
        )
        try:
            if self.on_ask is not None:
                told = await self.on_ask(ask)
            frame = encode(told)
            if len(frame) > MAX_FROM_CLUSTER:
                error = f"the answer has {len(frame)} bytes; ask about one node"
                frame = encode(replace(told, body={}, error=error))
            await self._socket.send_multipart([peer, frame])
        except Exception:  # noqa: BLE001 - who asked hears nothing, and says so
            self._drop("error", f"answering {ask.what!r} failed", exc_info=True)

    def _remember(self, hello: Hello, answer: Answer, peer: bytes) -> None:
        if not isinstance(answer, Wait):
            self._waiting.pop(hello.process_token, None)
        elif len(self._waiting) < MAX_WAITING or hello.process_token in self._waiting:
            self._waiting[hello.process_token] = peer

    def _drop(self, kind: str, what: str, *, exc_info: bool = False) -> None:
        self.counts[kind] += 1
        level = logging.WARNING if self.counts[kind] == 1 else logging.DEBUG
        logger.log(
            level, "bootstrap dropped a message (%s): %s", kind, what, exc_info=exc_info
        )


def _frame(answer: Answer) -> bytes:
    """An answer as a frame that a node takes.

    Raises
    ------
    WireError
        If it cannot be sent, or is longer than a node reads.
    """
    frame = encode(answer)
    if len(frame) > MAX_FROM_CLUSTER:
        raise MessageError(
            f"the {answer.kind} has {len(frame)} bytes, of {MAX_FROM_CLUSTER} that a"
            " node reads: keep environment=, worker_options= and Dask's config smaller"
        )
    return frame


def _allow_descriptors() -> None:
    """Raise the limit on open files as far as this process may, and never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _look_at(sending: asyncio.Future[Any]) -> None:
    """An answer that cannot be sent is one the node will ask for again."""
    if not sending.cancelled():
        sending.exception()
