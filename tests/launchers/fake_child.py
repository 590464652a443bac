"""A child process that behaves as a test wants it to, started as the real ones are.

Its behaviour stands in ``DIRECTORY/behaviour``, one word a line; the requests it
receives go to ``DIRECTORY/received``. Its nodes do not exist: it makes up their ids,
and their ends come on demand.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from dask_gridengine.launchers.messages import READY, decode, encode


class FakeChild:
    """Answers requests, unless a word of its behaviour changes that."""

    def __init__(self, directory: Path, contact: str | None) -> None:
        self.directory = directory
        self.contact = contact
        self.jobs = int(time.monotonic() * 1000)  # differs between children

    @property
    def behaviour(self) -> list[str]:
        return (self.directory / "behaviour").read_text().split()

    def send(self, kind: str, **fields: Any) -> None:
        sys.stdout.buffer.write(encode(kind, **fields))
        sys.stdout.buffer.flush()

    def start(self) -> None:
        for word in self.behaviour:
            if word == "dies-at-start":
                sys.exit("cannot find\nmy feet")
            if word == "hangs-at-start":
                time.sleep(60)
            if word == "prints-at-start":
                os.write(1, b"Hello, I am a library and print things\n")
            if word == "fails-at-start":
                fields = {"error": "internal", "text": "no feet", "advice": "grow feet"}
                return self.send("reply", id=READY, **fields)
            if word == "fails-later" and self.contact:
                sys.exit("not a second time")
        (self.directory / "pid").write_text(str(os.getpid()))
        return self.send("reply", id=READY, contact="the-contact", system="FAKE 1.0")

    def serve(self) -> None:
        """Answer requests until the end of input."""
        for line in sys.stdin.buffer:
            with (self.directory / "received").open("ab") as received:
                received.write(line)
            self.handle(decode(line))
        while "immortal" in self.behaviour:
            time.sleep(0.05)

    def handle(self, message: dict[str, Any]) -> None:
        words, kind, number = self.behaviour, message["kind"], message["id"]
        if f"dies-at-{kind}" in words:
            sys.stderr.write("Assertion failed in C\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if f"closes-pipes-at-{kind}" in words:
            os.closerange(1, 3)
            time.sleep(60)
        if f"prints-at-{kind}" in words:
            os.write(1, b"error: commlib error\n")
        if f"notes-at-{kind}" in words:
            self.send("note", text="the master is on holiday")
        if f"rejects-{kind}" in words:
            self.send("reply", id=number, error="rejected", text="no such queue")
        elif f"cannot-{kind}" in words:
            self.send("reply", id=number, error="unreachable", text="master is gone")
        elif f"fails-{kind}" in words:
            self.send("reply", id=number, error="internal", text="out of cheese")
        elif f"ignores-{kind}" not in words:
            while f"waits-at-{kind}" in self.behaviour:
                time.sleep(0.02)
            self.reply(message)

    def reply(self, message: dict[str, Any]) -> None:
        if message["kind"] == "submit":
            self.jobs += 1
            nodes = {str(self.jobs): [[1, message["count"]]]}
            if "ends-before-reply" in self.behaviour:
                self.send("end", nodes=nodes, exit_status=7)
            self.send("reply", id=message["id"], nodes=nodes)
            if "ends-after-reply" in self.behaviour:
                self.send("end", nodes=nodes, exit_status=8)
        else:
            self.send("reply", id=message["id"])
        if message["kind"] == "cancel":
            self.send("end", nodes=message["nodes"], signal="SIGKILL")


def main() -> None:
    """Run as the ``main`` of every child does."""
    parser = ArgumentParser()
    parser.add_argument("--parent", type=int)
    parser.add_argument("--contact")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    child = FakeChild(options.directory, options.contact)
    child.start()
    child.serve()
