"""What both session children need: their end of the pipe, and an eye on the parent."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

from dask_gridengine.bootstrap.connection_file import FILE_NAME
from dask_gridengine.grid_types import EndNotice
from dask_gridengine.launchers.protocol import Message, decode, encode, pack


def parse_arguments(arguments: list[str]) -> Namespace:
    """The command line of a session child, as `Channel` writes it."""
    parser = ArgumentParser(description="started by dask_gridengine, not by hand")
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--cleanup", type=Path, help="shared directory of the cluster")
    parser.add_argument("--slots", type=int, help="process launcher: nodes at a time")
    parser.add_argument("--contact", help="DRMAA launcher: session to take over")
    parser.add_argument("--dialect", help="DRMAA launcher: the grid's, if not its own")
    return parser.parse_args(arguments)


class ParentPipe:
    """Lines from the parent, lines to it, and whether it is still there.

    The pipes are taken off descriptors 0 and 1: whatever a library prints then goes
    to stderr and never into the middle of a message.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent
        self._in, self._out = os.dup(0), os.dup(1)
        with open(os.devnull) as null:
            os.dup2(null.fileno(), 0)
        os.dup2(2, 1)
        self._partial = bytearray()
        self._ended = False

    def fileno(self) -> int:
        """For `select` and event loops: readable when `receive` will not block."""
        return self._in

    @property
    def parent_gone(self) -> bool:
        """Whether nobody is left to speak to.

        The end of input alone does not prove life: a fork of the parent may hold the
        pipe open. So the parent's process id is asked as well.
        """
        return self._ended or self.parent_dead

    @property
    def parent_dead(self) -> bool:
        """Whether the parent's process has ended."""
        return os.getppid() != self._parent

    def outlives_parent(self, timeout: float = 5.0) -> bool:
        """Whether the parent is dead, or dying: its pipes close a moment before."""
        deadline = time.monotonic() + timeout
        while self._ended and not self.parent_dead and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.parent_dead

    def receive(self) -> Iterator[Message]:
        """Read once; yield the messages that are complete by now."""
        data = os.read(self._in, 1 << 20)
        self._ended = self._ended or not data
        self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        for line in lines:
            yield decode(line)

    def send(self, kind: str, **fields: object) -> None:
        """Say something; that nobody listens any more is noticed elsewhere."""
        view = memoryview(encode(kind, **fields))
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._out, view) :]


def end_fields(end: EndNotice) -> Message:
    """An end notice as the fields of a message."""
    fields = {name: value for name, value in vars(end).items() if name != "node"}
    return {"nodes": pack([end.node]), **fields}


def complain(text: str) -> None:
    """Write a line to stderr: the parent quotes the last ones when we die."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"dask_gridengine: {text}\n")
        sys.stderr.flush()


def remove_shared_directory(directory: Path | None) -> None:
    """Remove what a cluster that died left on the shared file system.

    Only what the cluster put there by name: a wrong path must not cost anybody data.
    Without a connection file it goes only if it is empty.
    """
    if directory is None or not directory.is_dir():
        return
    try:
        if (directory / FILE_NAME).is_file():
            shutil.rmtree(directory / "logs", ignore_errors=True)
            (directory / FILE_NAME).unlink(missing_ok=True)
        directory.rmdir()
    except OSError as exc:
        complain(f"could not remove {directory}: {exc}")
