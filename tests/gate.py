"""A gateway between two networks that forwards ports, as NAT does."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def gate(host: str, ports: dict[int, int], target: str) -> Iterator[None]:
    """Forward connections to these ports of `host`.

    Parameters
    ----------
    host
        Address to listen on.
    ports
        Port here to port at the target.
    target
        Host to forward to.
    """
    loop = asyncio.new_event_loop()
    done = asyncio.Event()
    ready = threading.Event()

    async def forward(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        with contextlib.closing(writer):
            try:
                there, back = await asyncio.open_connection(target, port)
            except OSError:
                return
            with contextlib.closing(back):
                await asyncio.wait(
                    [
                        asyncio.ensure_future(_copy(reader, back)),
                        asyncio.ensure_future(_copy(there, writer)),
                    ],
                    return_when=asyncio.FIRST_COMPLETED,
                )

    async def listen() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for outside, inside in ports.items():
                server = await asyncio.start_server(
                    lambda r, w, port=inside: forward(r, w, port), host, outside
                )
                await stack.enter_async_context(server)
            ready.set()
            await done.wait()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_until_complete, args=(listen(),))
    thread.start()
    try:
        assert ready.wait(10), "the gate does not open"
        yield
    finally:
        loop.call_soon_threadsafe(done.set)
        thread.join(10)
        loop.run_until_complete(asyncio.sleep(0))  # those cancelled end
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
