"""The launcher's side of the pipes to one child process."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dask_gridengine.errors import LauncherError
from dask_gridengine.formatting import format_duration
from dask_gridengine.grid_types import signal_name
from dask_gridengine.launchers.messages import READY, Message, decode, encode

STDERR_LINES = 20  # kept, to be quoted when the child dies
STDERR_GRACE = 0.5  # seconds to wait for the end of the second output pipe
EXIT_GRACE = 0.5  # seconds to wait for the exit of a child that closed its pipes
EXIT_INTERVAL = 0.01  # seconds between checks for its exit

PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
# Not ``-m``: it puts the working directory first on the path, and a user's ``queue.py``
# there would break the child. The child imports this package from where we did.
_SCRIPT = """\
import sys
sys.path = [path for path in sys.path if path] + [{root!r}]
from {module} import main
main()
"""


@dataclass(frozen=True, kw_only=True)
class ChildProgram:
    """What a launcher's child process runs, and how long to wait for it."""

    kind: str  # the launcher's name, "drmaa" or "process"
    module: str  # has a function ``main``
    advice: str  # what to type when it does not start and does not say why
    arguments: tuple[str, ...] = ()
    cleanup: Path | None = None  # a directory that the child removes if we die
    environment: Mapping[str, str] | None = None  # the whole environment; ours if None
    #: Whether nodes outlive the child. Then a new child takes them over.
    nodes_survive: bool = False
    #: Called with the child's first message after the child and its nodes have died.
    remove_remains: Callable[[Message], None] = lambda ready: None
    start_timeout: float = 30.0  # seconds
    reply_timeout: float = 60.0  # seconds
    restart_delays: tuple[float, ...] = (0.0, 0.5, 2.0, 10.0, 30.0)  # seconds

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the child with pipes to its standard streams."""
        script = _SCRIPT.format(root=PACKAGE_ROOT, module=self.module)
        command = [sys.executable, "-c", script, "--parent", str(os.getpid())]
        if self.cleanup is not None:
            command += ["--cleanup", str(self.cleanup.absolute())]
        return subprocess.Popen(
            [*command, *self.arguments, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment,
            start_new_session=True,  # Ctrl-C in the user's terminal does not reach it
        )


class ChildDied(LauncherError):
    """The child process has died; its pending requests may or may not be done."""


class Channel:
    """A child process, its pipes, and the requests that wait for a reply.

    The child is a plain `subprocess.Popen`: asyncio's own transport SIGKILLs its child
    when it is garbage-collected, and this child must live on to delete its jobs.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        on_event: Callable[[Message], None],
    ) -> None:
        self._process = process
        self._on_event = on_event
        self._on_death: Callable[[str], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._ids = itertools.count(READY + 1)
        self._pending: dict[int, asyncio.Future[Message]] = {}
        self._dead: asyncio.Future[str] = self._loop.create_future()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._protocol_error = ""
        self._ended_pipes = 0  # of stdout and stderr
        self._pipes: list[asyncio.BaseTransport] = []

    @classmethod
    async def open(
        cls,
        program: ChildProgram,
        *arguments: str,
        on_event: Callable[[Message], None],
    ) -> tuple[Channel, Message]:
        """Start a child; return its channel and its first message.

        `on_event` gets every message that is not a reply. Raises `ChildDied` if the
        child ends, hangs, or sends an invalid message.
        """
        self = cls(program.start(*arguments), on_event)
        try:
            ready = self._expect(READY)
            await self._connect()
            await asyncio.wait([ready], timeout=program.start_timeout)
            if not ready.done():
                problem = (
                    f"did not start within {format_duration(program.start_timeout)}"
                )
                raise ChildDied(self._exit_message(problem))
            return self, ready.result()
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def watch(self, on_death: Callable[[str], None]) -> None:
        """Have a death without `aclose` or `kill` reported once, with what happened.

        Raises `ChildDied` if the child has died already.
        """
        if self._dead.done():
            raise ChildDied(self._dead.result())
        self._on_death = on_death

    def request(self, kind: str, **fields: object) -> asyncio.Future[Message]:
        """Send a request; return a future of its reply, which may be `ChildDied`.

        Cancelling the future does not recall the request: wait for it with
        `asyncio.wait` or `asyncio.shield`.
        """
        number = next(self._ids)
        reply = self._expect(number)
        if self._dead.done():
            self._fail_pending(self._dead.result())
        else:
            self._to_child.write(encode(kind, id=number, **fields))
        return reply

    async def aclose(self, timeout: float) -> bool:
        """Close the child's stdin; return whether it ended within `timeout` seconds."""
        self._on_death = None
        self._to_child.close()
        await asyncio.wait([self._dead], timeout=timeout)
        return self._dead.done()

    def kill(self) -> None:
        """Kill a child that does not end; `on_death` is not called."""
        self._on_death = None
        self._process.kill()
        self._die("was killed")

    def detach(self) -> None:
        """Leave the child running, and stop listening to it."""
        self._dead.set_result(f"process {self.pid} was left running")
        self._close_pipes()

    def _expect(self, number: int) -> asyncio.Future[Message]:
        reply: asyncio.Future[Message] = self._loop.create_future()
        reply.add_done_callback(_mark_retrieved)
        self._pending[number] = reply
        return reply

    async def _connect(self) -> None:
        process, connect = self._process, self._loop.connect_read_pipe
        self._to_child, _ = await self._loop.connect_write_pipe(
            asyncio.BaseProtocol, process.stdin
        )
        self._pipes.append(self._to_child)
        for pipe, on_line in (
            (process.stderr, self._on_stderr),
            (process.stdout, self._on_message),
        ):
            protocol = functools.partial(_Lines, on_line, self._on_pipe_end)
            self._pipes.append((await connect(protocol, pipe))[0])

    def _on_message(self, line: bytes) -> None:
        if self._protocol_error:
            return  # the child is being killed
        try:
            message = decode(line)
            if message["kind"] == "reply":
                self._pending.pop(message["id"]).set_result(message)
            else:
                self._on_event(message)
        except (ValueError, KeyError):
            self._protocol_error = f"sent an invalid message: {line[:200]!r}"
            self._process.kill()

    def _on_stderr(self, line: bytes) -> None:
        self._stderr.append(line.decode(errors="replace").rstrip())

    def _on_pipe_end(self) -> None:
        # Both end in the same moment, in either order; each may hold the last message.
        self._ended_pipes += 1
        delay = STDERR_GRACE if self._ended_pipes < 2 else 0
        deadline = self._loop.time() + delay + EXIT_GRACE
        self._loop.call_later(delay, self._check_exit, deadline)

    def _check_exit(self, deadline: float) -> None:
        """Record how the child ended; kill it if it lives on with closed pipes."""
        if self._dead.done():
            return
        code = self._process.poll()
        if code is None and self._loop.time() < deadline:
            self._loop.call_later(EXIT_INTERVAL, self._check_exit, deadline)
        elif code is None:
            self._process.kill()
            self._die("closed its pipes")
        elif code < 0:
            self._die(f"was killed by {signal_name(-code)}")
        else:
            self._die(f"ended with exit status {code}")

    def _die(self, problem: str) -> None:
        if self._dead.done():
            return
        text = self._exit_message(self._protocol_error or problem)
        self._dead.set_result(text)
        self._close_pipes()
        self._fail_pending(text)
        if self._on_death is not None:
            self._on_death(text)

    def _fail_pending(self, text: str) -> None:
        pending, self._pending = self._pending, {}
        for reply in pending.values():
            reply.set_exception(ChildDied(text))

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        # Wait in a thread for the exit, which a dead disk may delay for ever; `Popen`
        # warns of a child that is never waited for. At Python's exit threads may no
        # longer start, but then there is no warning either.
        if self._process.poll() is None:
            with contextlib.suppress(RuntimeError):
                threading.Thread(
                    target=self._process.wait, name="Dask-reap", daemon=True
                ).start()

    def _exit_message(self, problem: str) -> str:
        lines = "".join(f"\n  {line}" for line in self._stderr)
        stderr = f"; its stderr ends with:{lines}" if lines else ", with empty stderr"
        return f"the launcher's child process ({self.pid}) {problem}{stderr}"


class _Lines(asyncio.Protocol):
    """Splits the bytes of a pipe into lines."""

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


def _mark_retrieved(future: asyncio.Future[Message]) -> None:
    """Prevent asyncio's warning about an exception that is never awaited."""
    if not future.cancelled():
        future.exception()
