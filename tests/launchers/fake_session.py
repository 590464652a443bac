"""A session child that behaves as a test tells it to, run as the real ones are.

Its behaviour stands in ``DIRECTORY/behaviour``, one word a line; what it hears goes to
``DIRECTORY/heard``. It knows no nodes: ids are made up and ends come on demand.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from dask_gridengine.launchers.protocol import decode, encode


class FakeSession:
    """Answers requests, unless a word of its behaviour says otherwise."""

    def __init__(self, directory: Path, contact: str | None) -> None:
        self.directory = directory
        self.contact = contact
        self.jobs = int(time.monotonic() * 1000)  # differ between sessions

    @property
    def words(self) -> list[str]:
        return (self.directory / "behaviour").read_text().split()

    def say(self, kind: str, **fields: Any) -> None:
        sys.stdout.buffer.write(encode(kind, **fields))
        sys.stdout.buffer.flush()

    def start(self) -> None:
        """First words, or trouble."""
        for word in self.words:
            if word == "dies-at-start":
                sys.exit("cannot find\nmy feet")
            if word == "silent":
                time.sleep(60)
            if word == "babbles":
                os.write(1, b"Hello, I am a library and print things\n")
            if word == "fails":
                return self.say("failed", lacking="feet", text="no feet here")
            if word == "fails-later" and self.contact:
                sys.exit("not a second time")
        (self.directory / "pid").write_text(str(os.getpid()))
        return self.say("ready", contact="the-contact", system="FAKE 1.0")

    def serve(self) -> None:
        """Until the end of input."""
        for line in sys.stdin.buffer:
            with (self.directory / "heard").open("ab") as heard:
                heard.write(line)
            self.answer(decode(line))
        while "immortal" in self.words:
            time.sleep(0.05)

    def answer(self, message: dict[str, Any]) -> None:
        words, kind, number = self.words, message["kind"], message["id"]
        if f"dies-of-{kind}" in words:
            sys.stderr.write("Assertion failed in C\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGSEGV)
        if f"closes-pipes-at-{kind}" in words:
            os.closerange(1, 3)
            time.sleep(60)
        if f"babbles-at-{kind}" in words:
            os.write(1, b"error: commlib error\n")
        if f"notes-{kind}" in words:
            self.say("note", text="the master is on holiday")
        if f"refuses-{kind}" in words:
            self.say("reply", id=number, error="refused", text="no such queue")
        elif f"cannot-{kind}" in words:
            self.say("reply", id=number, error="communication", text="master is gone")
        elif f"fails-{kind}" in words:
            self.say("reply", id=number, error="internal", text="out of cheese")
        elif f"ignores-{kind}" not in words:
            while f"hesitates-{kind}" in self.words:
                time.sleep(0.02)
            self.reply(message)

    def reply(self, message: dict[str, Any]) -> None:
        if message["kind"] == "submit":
            self.jobs += 1
            nodes = {str(self.jobs): [[1, message["count"]]]}
            if "ends-first" in self.words:
                self.say("end", nodes=nodes, exit_status=7)
            self.say("reply", id=message["id"], nodes=nodes)
            if "ends-after" in self.words:
                self.say("end", nodes=nodes, exit_status=8)
        else:
            self.say("reply", id=message["id"])
            if message["kind"] == "cancel":
                self.say("end", nodes=message["nodes"], signal="SIGKILL")


def main() -> None:
    """What a session's module must have."""
    parser = ArgumentParser()
    parser.add_argument("--parent", type=int)
    parser.add_argument("--contact")
    parser.add_argument("directory", type=Path)
    options = parser.parse_args()
    session = FakeSession(options.directory, options.contact)
    session.start()
    session.serve()
