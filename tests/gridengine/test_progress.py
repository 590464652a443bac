"""The line that a map shows on stderr: where it is shown, and what it says."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import sys
import termios
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tqdm.auto import tqdm

import gridengine
from tests.gridengine.helpers import wait_for
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Notebook:
    kernel = "a kernel"


@pytest.fixture(scope="module", autouse=True)
def _monitor() -> None:
    """Start the thread that tqdm keeps for the life of the process."""
    tqdm(total=1, file=io.StringIO()).close()


def lines(stream: io.StringIO) -> list[str]:
    """The texts of the line, in order."""
    return [line.strip() for line in stream.getvalue().split("\r") if line.strip()]


def shown(stream: Any, *args: Any, **options: Any) -> Any:
    """Map with this stream as stderr."""
    with contextlib.redirect_stderr(stream):
        return gridengine.map(*args, **options)


def nap(x: int) -> int:
    time.sleep(0.3)
    return x


def until_shown(stream: io.StringIO, go: Path) -> Callable[[int], int]:
    """A function whose last item lasts until the stream has something."""

    def watch() -> None:
        with contextlib.suppress(AssertionError):
            wait_until(stream.getvalue, "a line", 20)
        go.touch()

    threading.Thread(target=watch).start()

    def work(x: int) -> int:
        if x == 9:
            wait_for(str(go))
        return x

    return work


def test_a_log_gets_no_line(
    warm: gridengine.ProcessScheduler, capfd: pytest.CaptureFixture[str]
) -> None:
    """By default a job's log is not filled with bars, however long a map takes."""
    log = io.StringIO()
    shown(log, nap, range(10), warm)
    assert log.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_progress_false_is_obeyed_on_a_terminal(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Nothing is shown."""
    terminal = Terminal()
    shown(terminal, abs, range(10), warm, progress=False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_the_line_says_how_much_is_done(
    warm: gridengine.ProcessScheduler,
    stream: io.StringIO,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With progress=True it is shown at once, wherever stderr goes, and only there."""
    shown(stream, abs, range(10), warm, progress=True)
    first, *_, last = lines(stream)
    for line, share, count in ((first, "0 %", "0/10"), (last, "100 %", "10/10")):
        assert "2/2 workers" in line
        assert share in line
        assert count in line
    text = stream.getvalue()
    assert text.endswith("\n"), "what is printed next begins on its own line"
    assert text.count("\n") == 1
    assert capfd.readouterr() == ("", "")


def test_it_counts_workers_that_wait_in_the_queue(
    local_options: dict[str, Any],
) -> None:
    """The line changes although no item is done."""
    terminal, queued = Terminal(), threading.Event()

    def watch() -> None:
        with contextlib.suppress(AssertionError):
            wait_until(lambda: "queued" in terminal.getvalue(), "queued", 30)
        queued.set()

    def items() -> Iterator[int]:
        yield from range(3)
        queued.wait(40)

    thread = threading.Thread(target=watch)
    thread.start()
    options = {"max_jobs": 3, "options": {**local_options, "slots": 1}}
    with (
        gridengine.GridEngineScheduler(**options) as scheduler,
        contextlib.redirect_stderr(terminal),
    ):
        results = gridengine.imap(abs, items(), scheduler, progress=True)
        assert list(results) == [0, 1, 2]
    thread.join()
    assert "/3 workers" in terminal.getvalue()
    assert "2 queued" in terminal.getvalue()


def test_an_iterator_has_no_percentage(warm: gridengine.ProcessScheduler) -> None:
    """Where the number of items is not known, the line says how many are done."""
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal):
        results = gridengine.imap(abs, iter(range(5)), warm, progress=True)
        assert list(results) == list(range(5))
    line = lines(terminal)[-1]
    assert "2/2 workers" in line
    assert "5 done" in line
    assert "%" not in line
    assert "None" not in line


def test_a_short_map_shows_nothing_by_default(
    warm: gridengine.ProcessScheduler,
) -> None:
    """A terminal is not filled with bars."""
    terminal = Terminal()
    shown(terminal, abs, range(10), warm)
    assert terminal.getvalue() == ""


def test_a_longer_map_is_shown_on_a_terminal(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """By default the line comes up after a second or so."""
    terminal = Terminal()
    work = until_shown(terminal, tmp_path / "go")
    shown(terminal, work, range(10), warm, chunksize=1)
    assert "2/2 workers" in lines(terminal)[-1]


@pytest.mark.parametrize(
    ("shell", "expected"), [(Notebook(), True), (object(), False), (None, False)]
)
def test_a_longer_map_is_shown_in_a_notebook(
    warm: gridengine.ProcessScheduler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shell: Any,
    expected: bool,
) -> None:
    """It has a kernel, though its stderr is no terminal. IPython alone has none."""
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    stream = io.StringIO()
    work = until_shown(stream, tmp_path / "go") if expected else nap
    shown(stream, work, range(10), warm, chunksize=1)
    assert bool(stream.getvalue()) is expected


def test_an_exception_ends_the_line(warm: gridengine.ProcessScheduler) -> None:
    """A traceback does not begin in the middle of a bar, and is not swallowed."""
    terminal = Terminal()
    with pytest.raises(ZeroDivisionError):
        shown(terminal, lambda x: 1 // x, [1, 0], warm, progress=True)
    assert terminal.getvalue().endswith("\n")


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_it_fits_the_terminal(warm: gridengine.ProcessScheduler, columns: int) -> None:
    """A longer line would wrap, and each redraw would leave one behind."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    try:
        with os.fdopen(theirs, "w") as terminal:
            shown(terminal, abs, range(10), warm, progress=True)
            terminal.flush()
            text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
    drawn = [line.rstrip("\n") for line in text.split("\r")]
    assert any("2/2 workers" in line for line in drawn)
    assert max(map(len, drawn)) <= columns


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, object(), closed()])
def test_without_a_usable_stderr_a_map_works(
    warm: gridengine.ProcessScheduler, stream: Any
) -> None:
    """Closed, replaced or not there, as under pythonw: no line, and no error."""
    assert shown(stream, abs, [-1, -2, -3], warm) == [1, 2, 3]
