"""One session child: its process, its pipes, and the requests that are under way."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from dask_gridengine.errors import LauncherError
from dask_gridengine.grid_types import signal_name
from dask_gridengine.launchers.protocol import Message, decode, encode
from dask_gridengine.launchers.spawn import start_child

STDERR_LINES = 20  # kept, to be quoted when the child dies
STDERR_GRACE = 0.5  # seconds between the end of stdout and giving up on stderr
EXIT_SECONDS = 0.5  # for a child to end that has closed its pipes
EXIT_INTERVAL = 0.01  # seconds between looks


class SessionDied(LauncherError):
    """The session child is gone; what it was asked for may or may not have happened."""


class Channel:
    """A session child and the lines to and from it. Made by `open`.

    The child is a plain `subprocess.Popen`: asyncio's own transport SIGKILLs its child
    when it is garbage-collected, and a session must outlive us long enough to clean up.

    Attributes
    ----------
    hello
        The child's first message.
    """

    hello: Message

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_event: Callable[[Message], None],
        on_death: Callable[[str], None],
    ) -> None:
        self._process = process
        self._on_event, self._on_death = on_event, on_death
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Message]] = {}
        self._first: asyncio.Future[Message] = self._loop.create_future()
        self._first.add_done_callback(_look_at)
        self._dead: asyncio.Future[str] = self._loop.create_future()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._trouble = ""
        self._closing = False
        self._ended = 0  # of stdout and stderr
        self._pipes: list[asyncio.BaseTransport] = []

    @classmethod
    async def open(
        cls,
        module: str,
        *,
        on_event: Callable[[Message], None],
        on_death: Callable[[str], None],
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Channel:
        """Start a child and wait for its first message.

        Parameters
        ----------
        module
            Its program; has a function ``main``.
        on_event
            Given every later message that is no reply.
        on_death
            Given a sentence, once, when an opened child ends without `aclose`.
        environment
            Its whole environment; ours if None.

        Raises
        ------
        SessionDied
            If it ends, or says nothing for `timeout` seconds, or nothing sensible.
        """
        self = cls(start_child(module, arguments, environment), on_event, on_death)
        try:
            await self._connect()
            await asyncio.wait([self._first], timeout=timeout)
            if not self._first.done():
                raise SessionDied(self._exit_message(f"said nothing for {timeout:g} s"))
            self.hello = self._first.result()
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def ask(self, kind: str, **fields: object) -> asyncio.Future[Message]:
        """Send a request. The future has its reply, or raises `SessionDied`.

        Cancelling the future does not recall the request: wait for it by
        `asyncio.wait` or `asyncio.shield`.
        """
        reply: asyncio.Future[Message] = self._loop.create_future()
        reply.add_done_callback(_look_at)
        if self._dead.done():
            reply.set_exception(SessionDied(self._dead.result()))
            return reply
        number = next(self._numbers)
        self._asked[number] = reply
        self._to_child.write(encode(kind, id=number, **fields))
        return reply

    async def aclose(self, timeout: float) -> bool:
        """Close its stdin; whether it ended within `timeout` seconds."""
        self._closing = True
        self._to_child.close()
        await asyncio.wait([self._dead], timeout=timeout)
        return self._dead.done()

    def kill(self) -> None:
        """SIGKILL, for a child that does not go. It is not reported as a death."""
        self._closing = True
        self._process.kill()
        self._die("was killed")

    def detach(self) -> None:
        """Leave the child to itself: it has more to do, and nobody to tell."""
        self._dead.set_result(f"session {self.pid} was left to itself")
        self._close_pipes()
        self._reap()

    async def _connect(self) -> None:
        stdin, stdout, stderr = (
            self._process.stdin,
            self._process.stdout,
            self._process.stderr,
        )
        connect = self._loop.connect_read_pipe
        self._to_child, _ = await self._loop.connect_write_pipe(
            asyncio.BaseProtocol, stdin
        )
        self._pipes.append(self._to_child)
        for pipe, hear in ((stderr, self._hear_complaint), (stdout, self._hear)):
            make = functools.partial(_Lines, hear, self._pipe_ended)
            self._pipes.append((await connect(make, pipe))[0])

    def _hear(self, line: bytes) -> None:
        if self._trouble:
            return  # it is being killed
        try:
            message = decode(line)
            if not self._first.done():
                self._first.set_result(message)
            elif message["kind"] == "reply":
                self._asked.pop(message["id"]).set_result(message)
            else:
                self._on_event(message)
        except (ValueError, KeyError):
            self._trouble = f"said what is no message: {line[:200]!r}"
            self._process.kill()

    def _hear_complaint(self, line: bytes) -> None:
        self._stderr.append(line.decode(errors="replace").rstrip())

    def _pipe_ended(self) -> None:
        # Both end in the same moment, in either order, and each may hold the last news.
        self._ended += 1
        delay = STDERR_GRACE if self._ended < 2 else 0
        deadline = self._loop.time() + delay + EXIT_SECONDS
        self._loop.call_later(delay, self._look_for_exit, deadline)

    def _look_for_exit(self, deadline: float) -> None:
        """Note how the child ended, which closed its pipes; or end it."""
        if self._dead.done():
            return
        code = self._process.poll()
        if code is None and self._loop.time() < deadline:
            self._loop.call_later(EXIT_INTERVAL, self._look_for_exit, deadline)
        elif code is None:
            self._process.kill()
            self._die("closed its pipes")
        elif code < 0:
            self._die(f"was killed by {signal_name(-code)}")
        else:
            self._die(f"ended with exit status {code}")

    def _die(self, how: str) -> None:
        if self._dead.done():
            return
        text = self._exit_message(self._trouble or how)
        self._dead.set_result(text)
        self._close_pipes()
        self._reap()
        waiting, self._asked = self._asked, {}
        for reply in waiting.values():
            reply.set_exception(SessionDied(text))
        if not self._first.done():
            self._first.set_exception(SessionDied(text))
        elif not self._closing:
            self._on_death(text)

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()

    def _reap(self) -> None:
        """Wait in a thread for its exit, which a dead disk may delay for ever."""
        # `Popen` warns of a child that nobody waits for. At Python's exit there may be
        # no thread any more, but then nobody is warned.
        if self._process.poll() is None:
            with contextlib.suppress(RuntimeError):
                threading.Thread(
                    target=self._process.wait, name="Dask-reap", daemon=True
                ).start()

    def _exit_message(self, how: str) -> str:
        said = "".join(f"\n  {line}" for line in self._stderr)
        words = f"; its last words:{said}" if said else " without a word on stderr"
        return f"the launcher's session (process {self.pid}) {how}{words}"


class _Lines(asyncio.Protocol):
    """Cuts the bytes of a pipe into lines."""

    def __init__(
        self, on_line: Callable[[bytes], None], on_end: Callable[[], None]
    ) -> None:
        self._on_line, self._on_end = on_line, on_end
        self._partial = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._on_line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()


def _look_at(future: asyncio.Future[Message]) -> None:
    """Nobody may be waiting any more; then its exception is no news."""
    if not future.cancelled():
        future.exception()
