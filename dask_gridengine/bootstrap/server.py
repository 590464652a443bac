"""The cluster's end of the bootstrap channel: a ROUTER with CURVE and an allow-list.

Input is untrusted until it has been checked: a frame that is malformed, oversized or
out of order is counted, logged once per kind, and changes nothing.
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
from dask_gridengine.net.ports import Ports, free_ports

logger = logging.getLogger(__name__)

ZAP_DOMAIN = "gridengine"
MAX_WAITING = 100_000  # peers that are sent an answer early; others have to ask again
RECEIVE_AGAIN = 0.2  # seconds after an error of the socket
MAX_REASON = 2000  # letters of an error that is sent to a node
BACKLOG = 4096  # connections that the kernel holds while the loop is busy
#: Open files to allow this process, if it may have as many. Most systems begin with
#: 1024; a node is a connection here, and as a worker some at the scheduler.
DESCRIPTORS = 2**16


class _AllowList:
    """A ZAP credentials provider that knows the one allowed key."""

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self._key


class BootstrapServer:
    """Sends each node the answer to its hello, in the cluster's event loop.

    `on_hello` decides (see `AdmissionControl.answer`), `on_exit_report` receives each
    exit report, and `on_control_request`, when it is set, answers the cluster's user.
    """

    def __init__(
        self,
        *,
        on_hello: Callable[[Hello], Answer],
        on_exit_report: Callable[[ExitReport], None],
    ) -> None:
        self.keys = CurveKeys.generate()
        self.node_keys = CurveKeys.generate()
        #: Messages: those dropped by reason, and answers by kind.
        self.counts: Counter[str] = Counter()
        self.port = 0
        self.on_control_request: (
            Callable[[ControlRequest], Awaitable[ControlReply]] | None
        ) = None
        self._on_hello, self._on_exit_report = on_hello, on_exit_report
        self._context: zmq.asyncio.Context | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, bytes] = {}  # process token to peer

    def start(self, host: str = "0.0.0.0", ports: Ports | None = None) -> None:
        """Listen at the first free port, and serve in this event loop until `aclose`.

        All of this host's addresses are bound by default; "::" includes those of IPv4.
        Raises OptionError if the address cannot be bound, or none of `ports` is free.
        """
        _raise_descriptor_limit()
        self._context = zmq.asyncio.Context()
        self._auth = AsyncioAuthenticator(self._context)
        self._auth.start()
        allowed = _AllowList(self.node_keys.public)
        self._auth.configure_curve_callback(ZAP_DOMAIN, credentials_provider=allowed)
        self._socket = socket = self._context.socket(zmq.ROUTER)
        socket.curve_server = True
        socket.curve_publickey = self.keys.public.encode()
        socket.curve_secretkey = self.keys.secret.encode()
        socket.zap_domain = ZAP_DOMAIN.encode()
        socket.ipv6 = ":" in host
        socket.backlog = BACKLOG
        socket.linger = 0
        # A second line of defence: libzmq disconnects a peer that sends more.
        socket.maxmsgsize = 4 * MAX_FROM_NODE
        # Drop answers to disconnected peers; they must not block the other answers.
        socket.router_mandatory = False
        try:
            self._bind(host, ports)
        except BaseException:
            self._release()
            raise
        endpoint = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.port = int(endpoint.rpartition(":")[2])
        self._start_task(self._serve(), "gridengine bootstrap")

    def _bind(self, host: str, ports: Ports | None) -> None:
        for port in free_ports(host, ports, "bootstrap_port") if ports else (0,):
            try:
                self._socket.bind(f"tcp://{join(host, port)}")
                return
            except zmq.ZMQError as exc:
                if exc.errno != errno.EADDRINUSE:
                    raise OptionError(
                        f"cannot listen at {join(host, port)}: {exc}",
                        hint="set host= or interface= to an address of this machine,"
                        " and bootstrap_port= to a port that you may use",
                    ) from exc

    def _start_task(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def send_answers(self, answers: Iterable[tuple[Hello, Answer]]) -> None:
        """Send answers to nodes that wait, before they ask again.

        Nodes that have disconnected or do not wait are skipped.
        """
        try:
            for hello, answer in answers:
                peer = self._waiting.pop(hello.process_token, None)
                if peer is not None and self._context is not None:
                    self.counts[answer.kind] += 1
                    frames = [peer, _frame(answer)]
                    sending = asyncio.ensure_future(self._socket.send_multipart(frames))
                    sending.add_done_callback(_ignore_error)
        except Exception:  # noqa: BLE001 - the nodes ask again, and `_answer` reports it
            self._drop("error", "answering a waiting node failed", exc_info=True)

    async def aclose(self) -> None:
        """Stop answering and close the port. Idempotent."""
        tasks = list(self._tasks)
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
            except Exception:  # noqa: BLE001 - otherwise no node is answered any more
                self._drop("error", "receiving failed", exc_info=True)
                await asyncio.sleep(RECEIVE_AGAIN)
                continue
            try:
                await self._handle(frames)
            except Exception:  # noqa: BLE001 - one peer must not stop the others
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
            # In a task: workers may need seconds for their logs.
            self.counts[message.kind] += 1
            self._start_task(self._reply(message, peer), "gridengine control request")
        else:
            self._drop("out of order", f"a node sent {message.kind}")

    def _answer(self, hello: Hello) -> tuple[Answer, bytes]:
        """Return the answer to a node, and its frame.

        Whatever fails here, the node gets an answer: otherwise it would wait for its
        whole timeout and then report a network problem.
        """
        try:
            answer = self._on_hello(hello)
            return answer, _frame(answer)
        except Exception as exc:  # noqa: BLE001 - sent to the node
            self._drop("error", "answering a node failed", exc_info=True)
            reason = f"{type(exc).__name__}: {exc}"[:MAX_REASON]
            answer = Rejected(process_token=hello.process_token, reason=reason)
            return answer, encode(answer)

    def _remember(self, hello: Hello, answer: Answer, peer: bytes) -> None:
        if not isinstance(answer, Wait):
            self._waiting.pop(hello.process_token, None)
        elif len(self._waiting) < MAX_WAITING or hello.process_token in self._waiting:
            self._waiting[hello.process_token] = peer

    async def _reply(self, request: ControlRequest, peer: bytes) -> None:
        reply = ControlReply(
            process_token=request.process_token, body={}, error="it is starting"
        )
        try:
            if self.on_control_request is not None:
                reply = await self.on_control_request(request)
            frame = encode(reply)
            if len(frame) > MAX_FROM_CLUSTER:
                error = f"the answer has {len(frame)} bytes; ask about one node"
                frame = encode(replace(reply, body={}, error=error))
            await self._socket.send_multipart([peer, frame])
        except Exception:  # noqa: BLE001 - the requester runs into its timeout
            self._drop("error", f"answering {request.what!r} failed", exc_info=True)

    def _drop(self, kind: str, text: str, *, exc_info: bool = False) -> None:
        self.counts[kind] += 1
        level = logging.WARNING if self.counts[kind] == 1 else logging.DEBUG
        logger.log(
            level, "bootstrap dropped a message (%s): %s", kind, text, exc_info=exc_info
        )


def _frame(answer: Answer) -> bytes:
    """Encode an answer; MessageError if it is longer than a node accepts."""
    frame = encode(answer)
    if len(frame) > MAX_FROM_CLUSTER:
        raise MessageError(
            f"the {answer.kind} has {len(frame)} bytes, the limit is"
            f" {MAX_FROM_CLUSTER}: keep environment=, worker_options= and Dask's config"
            " smaller"
        )
    return frame


def _raise_descriptor_limit() -> None:
    """Raise the limit on open files as far as this process may; never lower it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))


def _ignore_error(sending: asyncio.Future[Any]) -> None:
    """Retrieve the error of a failed send, after which the node asks again."""
    if not sending.cancelled():
        sending.exception()
