"""``up`` in a pipe and in a real terminal."""

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
from dask_gridengine.cli.up import StopSignals
from tests.clusters import DASK, typed
from tests.waiting import wait_until

OPTIONS = ("--launcher=process", "--name=mine", "-o", "slots=2", "-o")
NO_PAGE = "scheduler-options={'dashboard_address': ':0'}"


def command(shared: Path, *arguments: str) -> list[str]:
    where = f"shared-directory={shared}"
    return [DASK, "gridengine", "up", *OPTIONS, NO_PAGE, "-o", where, *arguments]


@contextlib.contextmanager
def up(shared: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run it with all its output in a pipe."""
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command(shared, *arguments), text=True, **pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_until(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """Read its output to the first line that matches."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line.rstrip())
        if re.search(pattern, line):
            return found
    raise AssertionError(f"it ended without {pattern!r}: {found}")


def test_in_a_pipe(shared: Path, tmp_path: Path) -> None:
    """It prints a line for each change; other processes can use the cluster; SIGTERM
    closes it, and no file is left."""
    file = tmp_path / "s.json"
    with up(shared, "--jobs=2", f"--scheduler-file={file}") as process:
        lines = lines_until(process, "2 working")
        assert '  to use it: client = dask_gridengine.connect("mine")' in lines
        assert not any("\x1b" in line for line in lines)
        with connect(file, set_as_default=False) as client:
            assert client.submit(sum, [1, 2, 3]).result() == 6
        process.send_signal(signal.SIGTERM)
        lines = lines_until(process, "no nodes are left")
        assert process.wait(20) == 0
    assert not file.exists()


def test_lost_results_are_one_line(shared: Path) -> None:
    """The output names the workers that held results, and not each key."""
    with up(shared, "--jobs=2") as process:
        lines_until(process, "2 working")
        with connect(shared_directory=shared, set_as_default=False) as client:
            held = client.map(abs, range(20))
            client.gather(held)
            process.send_signal(signal.SIGTERM)
            lines = lines_until(process, "no nodes are left")
            assert process.wait(20) == 0
    assert sum("Lost data that only" in line for line in lines) == 1
    assert not [line for line in lines if "distributed." in line]


def test_adaptive(shared: Path) -> None:
    """--adapt MIN MAX: the number of nodes follows the amount of work."""
    with up(shared, "--adapt", "0", "2") as process:
        lines_until(process, r"0 \(adaptive, 0 to 2\) requested")
        with connect(shared_directory=shared, set_as_default=False) as client:
            assert client.submit(sum, [1, 2, 3]).result(30) == 6
        process.send_signal(signal.SIGINT)
        lines_until(process, "no nodes are left")
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "--jobs N"),
        (["--jobs=1", "--adapt", "0", "1"], "--adapt"),
        (["--adapt", "2", "1"], "MIN is above MAX"),
        (["--jobs=1", "-o", "queue"], "KEY=VALUE"),
        (["--jobs=1", "-o", "queu=x"], "'queue'"),
    ],
)
def test_wrong_usage(arguments: list[str], expected: str) -> None:
    """It is an error before anything is started."""
    ended = typed("up", *arguments)
    assert ended.exit_code == 2
    assert expected in ended.output


def test_signals_are_counted() -> None:
    """Afterwards the previous handlers are restored."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stops:
        stops.interrupting = False
        os.kill(os.getpid(), signal.SIGTERM)
        stops.wait(5)
        assert (stops.count, stops.status) == (1, 128 + signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


class Terminal:
    """A terminal in tmux."""

    def __init__(self, line: str) -> None:
        self._name = f"test-{uuid.uuid4().hex[:8]}"
        size = ("-x", "100", "-y", "24")
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, line)

    def _tmux(self, *arguments: str) -> str:
        done = ["tmux", "-L", self._name, *arguments]
        return subprocess.run(done, capture_output=True, text=True, check=True).stdout

    def screen(self) -> str:
        """Return the text on the screen."""
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
    """The picture follows the size of the window; Ctrl-C closes the cluster and leaves
    a clean screen and no file."""
    script = shared.parent / "up.sh"
    words = shlex.join(command(shared, "--jobs=2"))
    # A terminal sends Ctrl-C to all its foreground processes.
    script.write_text(f"trap : INT\n{words}; echo status $?; exec sleep 60\n")
    terminal = Terminal(f"sh {script}")
    try:
        wait_until(
            lambda: "2 requested: 2 working" in terminal.screen(),
            "two nodes on the screen",
            30,
            terminal.screen,
        )
        footer = "Ctrl-C: close after the running tasks; twice: close now"
        assert footer in terminal.screen()
        terminal.resize(50, 20)
        wait_until(
            lambda: "\nclose now" in terminal.screen(),
            "the picture at its new width",
            10,
            terminal.screen,
        )
        terminal.press("C-c")
        wait_until(
            lambda: "status 0" in terminal.screen(), "its end", 20, terminal.screen
        )
        assert "mine was closed" in terminal.screen()
    finally:
        terminal.close()
