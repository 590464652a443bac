"""The child's side of the pipe to its launcher; both kinds of child use it."""

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
from dask_gridengine.launchers.messages import Message, decode, encode, to_ranges


def parse_arguments(arguments: list[str]) -> Namespace:
    """Parse the command line of a child."""
    parser = ArgumentParser(description="started by dask_gridengine, not by hand")
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--cleanup", type=Path, help="shared directory of the cluster")
    parser.add_argument("--slots", type=int, help="process launcher: nodes at a time")
    parser.add_argument("--contact", help="DRMAA launcher: session to take over")
    return parser.parse_args(arguments)


class ParentPipe:
    """Messages from and to the parent, and whether the parent still lives.

    The pipes are moved away from descriptors 0 and 1: what a library prints then goes
    to stderr, and never into the middle of a message.
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
        """Return a descriptor that is readable when `receive` will not block."""
        return self._in

    @property
    def parent_gone(self) -> bool:
        """Whether the parent has closed its end of the pipe or is dead.

        An open pipe does not prove that the parent lives: a fork of it may hold the
        pipe open. So its process id is checked as well.
        """
        return self._ended or self.parent_dead

    @property
    def parent_dead(self) -> bool:
        """Whether the parent's process has ended."""
        return os.getppid() != self._parent

    def outlives_parent(self, timeout: float = 5.0) -> bool:
        """Wait for a dying parent, whose pipes close first; return whether it died."""
        deadline = time.monotonic() + timeout
        while self._ended and not self.parent_dead and time.monotonic() < deadline:
            time.sleep(0.05)
        return self.parent_dead

    def receive(self) -> Iterator[Message]:
        """Read once, and yield the messages that are complete by now."""
        data = os.read(self._in, 1 << 20)
        self._ended = self._ended or not data
        self._partial += data
        *lines, self._partial = self._partial.split(b"\n")
        for line in lines:
            yield decode(line)

    def send(self, kind: str, **fields: object) -> None:
        """Send a message; a closed pipe is not an error, `parent_gone` tells of it."""
        view = memoryview(encode(kind, **fields))
        with contextlib.suppress(BrokenPipeError):
            while view:
                view = view[os.write(self._out, view) :]

    def send_end(self, end: EndNotice) -> None:
        """Send an end notice."""
        fields = {name: value for name, value in vars(end).items() if name != "node"}
        self.send("end", nodes=to_ranges([end.node]), **fields)


def write_error(text: str) -> None:
    """Write a line to stderr; the parent quotes the last lines when the child dies."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"dask_gridengine: {text}\n")
        sys.stderr.flush()


def remove_shared_directory(directory: Path | None) -> None:
    """Remove what a dead cluster left on the shared file system.

    Removes only what the cluster created, by name: a wrong path must not delete a
    user's data. Without a connection file only an empty directory is removed.
    """
    if directory is None or not directory.is_dir():
        return
    try:
        if (directory / FILE_NAME).is_file():
            shutil.rmtree(directory / "logs", ignore_errors=True)
            (directory / FILE_NAME).unlink(missing_ok=True)
        directory.rmdir()
    except OSError as exc:
        write_error(f"could not remove {directory}: {exc}")
