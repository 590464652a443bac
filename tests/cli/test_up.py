"""``up``: a cluster for the life of a command, in a pipe and in a real terminal."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_gridengine import connect
from dask_gridengine.cli.signals import StopSignals
from tests.clusters import DASK, typed
from tests.waiting import wait_until

OPTIONS = ("--launcher=process", "--name=mine", "-o", "slots=2", "-o")
NO_PAGE = "scheduler-options={'dashboard_address': ':0'}"


def command(shared: Path, *arguments: str) -> list[str]:
    where = f"shared-directory={shared}"
    return [DASK, "gridengine", "up", *OPTIONS, NO_PAGE, "-o", where, *arguments]


@contextlib.contextmanager
def up(shared: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """It runs, with all its output in a pipe."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command(shared, *arguments), text=True, **pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """What it prints, to the first line with that in it."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line.rstrip())
        if re.search(pattern, line):
            return found
    raise AssertionError(f"it ended without {pattern!r}: {found}")


def test_in_a_pipe(shared: Path, tmp_path: Path) -> None:
    """A line for each change; others use it meanwhile; SIGTERM drains it, and nothing
    is left."""
    file = tmp_path / "s.json"
    with up(shared, "--jobs=2", f"--scheduler-file={file}") as process:
        said = lines_until(process, "2 working")
        assert '  to use it: client = dask_gridengine.connect("mine")' in said
        assert not any("\x1b" in line for line in said)
        with connect(file, set_as_default=False) as client:
            assert client.submit(sum, [1, 2, 3]).result() == 6
        process.send_signal(signal.SIGTERM)
        said = lines_until(process, "all nodes are given back")
        assert process.wait(20) == 0
    assert not file.exists()


def test_what_others_still_hold_is_one_line(shared: Path) -> None:
    """Results go with the cluster; of which workers is said, and no page of keys."""
    with up(shared, "--jobs=2") as process:
        lines_until(process, "2 working")
        with connect(shared_directory=shared, set_as_default=False) as client:
            held = client.map(abs, range(20))
            client.gather(held)
            process.send_signal(signal.SIGTERM)
            said = lines_until(process, "all nodes are given back")
            assert process.wait(20) == 0
    assert sum("held is lost" in line for line in said) == 1
    assert not [line for line in said if "distributed." in line]


def test_adaptive(shared: Path) -> None:
    """--adapt MIN MAX: the number of nodes follows the work."""
    with up(shared, "--adapt", "0", "2") as process:
        lines_until(process, r"0 wanted \(adaptive, 0 to 2\)")
        with connect(shared_directory=shared, set_as_default=False) as client:
            assert client.submit(sum, [1, 2, 3]).result(30) == 6
        process.send_signal(signal.SIGINT)
        lines_until(process, "given back")
        assert process.wait(20) == 0


def test_mistakes() -> None:
    """Each is told before anything is started."""
    assert "no nodes are asked for" in typed("up").output
    assert "give one" in typed("up", "--jobs=1", "--adapt", "0", "1").output
    assert "MIN is above MAX" in typed("up", "--adapt", "2", "1").output
    assert "KEY=VALUE" in typed("up", "--jobs=1", "-o", "queue").output
    assert "did you mean 'queue'" in typed("up", "--jobs=1", "-o", "queu=x").output


def test_signals_are_counted() -> None:
    """The first asks gently, the second insists; what was there comes back."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stops:
        stops.interrupting = False
        os.kill(os.getpid(), signal.SIGTERM)
        stops.wait(5)
        assert (stops.count, stops.status) == (1, 128 + signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Terminal:
    """tmux, with a screen that can be looked at and typed into."""

    def __init__(self, line: str) -> None:
        self._name = f"test-{uuid.uuid4().hex[:8]}"
        size = ("-x", "100", "-y", "24")
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, line)

    def _tmux(self, *arguments: str) -> str:
        done = ["tmux", "-L", self._name, *arguments]
        return subprocess.run(done, capture_output=True, text=True, check=True).stdout

    def screen(self) -> str:
        """What stands there."""
        return self._tmux("capture-pane", "-p")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def close(self) -> None:
        subprocess.run(["tmux", "-L", self._name, "kill-server"], check=False)


@pytest.mark.skipif(
    shutil.which("tmux") is None, reason="no tmux: apt-get install tmux"
)
def test_in_a_terminal(shared: Path) -> None:
    """A live picture that follows the window; Ctrl-C drains, and leaves a clean
    screen, no job and no file."""
    script = shared.parent / "up.sh"
    words = shlex.join(command(shared, "--jobs=2"))
    # A terminal tells Ctrl-C to all that run in it.
    script.write_text(f"trap : INT\n{words}; echo status $?; exec sleep 60\n")
    terminal = Terminal(f"sh {script}")
    try:
        wait_until(
            lambda: "2 wanted: 2 working" in terminal.screen(),
            "two nodes on the screen",
            30,
            terminal.screen,
        )
        assert "Ctrl-C lets running tasks end" in terminal.screen()
        terminal.resize(60, 20)
        wait_until(
            lambda: "\ntwice: at once" in terminal.screen(),
            "the picture at its new width",
            10,
            terminal.screen,
        )
        terminal.press("C-c")
        wait_until(
            lambda: "status 0" in terminal.screen(), "its end", 20, terminal.screen
        )
        assert "all nodes are given back" in terminal.screen()
    finally:
        terminal.close()
