"""The line while a map runs: whom it is shown to, and what it says."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import struct
import sys
import termios
import time
import types
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from tqdm.auto import tqdm

from gridengine.progress import DELAY, Progress, is_interactive
from gridengine.source import Source
from gridengine.tally import Tally
from tests.waiting import wait_until


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Crew:
    """Somewhere to run, whose workers come and go."""

    def __init__(self) -> None:
        self.now = Tally(workers=3, wanted=10, queued=7)

    def tally(self) -> Tally:
        return self.now


class Notebook:
    kernel = "a kernel"


@pytest.fixture(scope="module", autouse=True)
def _monitor() -> None:
    """Start the thread that tqdm keeps for the life of the process."""
    tqdm(total=1, file=io.StringIO()).close()


def lines(stream: io.StringIO) -> list[str]:
    """What stood on the line, one after the other."""
    return [line.strip() for line in stream.getvalue().split("\r") if line.strip()]


@contextlib.contextmanager
def shown_on(
    stream: Any, items: Iterable[Any], wanted: bool | None, crew: Crew | None = None
) -> Iterator[Progress]:
    """A map's progress, with this stream as stderr."""
    with (
        contextlib.redirect_stderr(stream),
        Progress(crew or Crew(), Source(items), wanted) as progress,
    ):
        yield progress


def run(stream: Any, items: Iterable[Any], done: int, wanted: bool | None) -> None:
    """A map of which so many items get done."""
    with shown_on(stream, items, wanted) as progress:
        progress.tick()
        for _ in range(done):
            progress.done(1)
        progress.tick()


def test_silent_where_nobody_looks(capfd: pytest.CaptureFixture[str]) -> None:
    """A job's log is not filled with bars."""
    logfile = io.StringIO()
    run(logfile, range(10), 10, None)
    run(logfile, iter("abc"), 3, None)
    assert logfile.getvalue() == ""
    assert capfd.readouterr() == ("", "")


def test_silent_on_demand() -> None:
    """progress=False is obeyed on a terminal too."""
    terminal = Terminal()
    run(terminal, range(10), 10, False)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
def test_the_line_says_who_works_and_how_much_is_done(
    stream: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    """With progress=True it is shown at once, wherever stderr goes, and only there."""
    run(stream, range(10), 4, True)
    first, *_, last = lines(stream)
    for line, share, count in ((first, "0 %", "0/10"), (last, "40 %", "4/10")):
        assert "3/10 workers" in line
        assert "7 queued" in line
        assert f"{share} done" in line
        assert count in line
        assert "ETA" in line
    assert capfd.readouterr() == ("", "")


def test_it_is_one_line_with_an_end() -> None:
    """The last state stays, and what is printed next begins on its own line."""
    terminal = Terminal()
    run(terminal, range(3), 3, True)
    said = terminal.getvalue()
    assert said.startswith("\r")
    assert said.endswith("\n")
    assert said.count("\n") == 1
    assert "100 % done" in lines(terminal)[-1]


def test_workers_that_come_are_told_of() -> None:
    """The line is said anew on each tick, though no item is done."""
    terminal, crew = Terminal(), Crew()
    with shown_on(terminal, range(10), True, crew) as progress:
        crew.now = Tally(workers=10, wanted=10, queued=0)
        progress.tick()
        assert "10/10 workers, 0 % done" in lines(terminal)[-1]
    assert "queued" in lines(terminal)[0]
    assert "queued" not in lines(terminal)[-1]


def test_items_are_counted_by_the_block() -> None:
    """So many at a time, also none."""
    terminal = Terminal()
    with shown_on(terminal, range(1000), True) as progress:
        for items in (100, 0, 150):
            progress.done(items)
    assert "25 % done" in lines(terminal)[-1]
    assert "250/1000" in lines(terminal)[-1]


def test_an_endless_input_has_no_percentage() -> None:
    """Where nobody knows how much there is, it says how much is done."""
    terminal = Terminal()
    run(terminal, iter(int, 1), 5, True)
    line = lines(terminal)[-1]
    assert "3/10 workers, 7 queued" in line
    assert "5 done" in line
    assert "%" not in line
    assert "ETA" not in line
    assert "None" not in line


def test_what_is_over_soon_shows_nothing() -> None:
    """By default a terminal is not filled with the bars of short maps."""
    terminal = Terminal()
    with shown_on(terminal, range(10), None) as progress:
        for _ in range(10):
            progress.done(1)
    assert terminal.getvalue() == ""


def test_what_takes_longer_is_shown() -> None:
    """By default the bar comes up after DELAY, and not before."""
    terminal, started = Terminal(), time.monotonic()
    with shown_on(terminal, range(10**9), None) as progress:

        def said() -> str:
            progress.done(1)
            return terminal.getvalue()

        wait_until(said, "a bar", DELAY + 20)
        assert time.monotonic() - started >= 0.9 * DELAY  # two clocks
        assert "3/10 workers" in lines(terminal)[-1]


def test_an_exception_ends_the_line() -> None:
    """A traceback does not begin in the middle of a bar, and is not swallowed."""
    terminal = Terminal()
    with pytest.raises(KeyboardInterrupt), shown_on(terminal, "ab", True):
        raise KeyboardInterrupt
    assert terminal.getvalue().endswith("\n")


def resize(descriptor: int, columns: int) -> None:
    size = struct.pack("HHHH", 24, columns, 0, 0)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, size)


@contextlib.contextmanager
def pty(columns: int) -> Iterator[tuple[int, io.TextIOWrapper]]:
    """A real terminal: the end one reads from, and the one that is stderr."""
    ours, theirs = os.openpty()
    try:
        with os.fdopen(theirs, "w") as stream:
            resize(theirs, columns)
            yield ours, stream
    finally:
        os.close(ours)


@pytest.mark.parametrize("columns", [30, 80, 200])
def test_it_fits_the_terminal(columns: int) -> None:
    """A longer line would wrap, and each redraw would leave one behind."""
    with pty(columns) as (ours, terminal):
        run(terminal, range(10), 4, True)
        terminal.flush()
        said = os.read(ours, 65536).decode()
    drawn = [line.rstrip("\n") for line in said.split("\r")]
    assert any("3/10 workers" in line for line in drawn)
    assert max(map(len, drawn)) <= columns


def test_it_follows_the_terminal() -> None:
    """A window that is made narrower is not filled with broken lines."""
    with (
        pty(120) as (ours, terminal),
        shown_on(terminal, range(10), True) as progress,
    ):
        assert os.read(ours, 65536)
        resize(terminal.fileno(), 40)
        progress.tick()
        line = os.read(ours, 65536).decode()
    assert "3/10 workers" in line
    assert len(line.strip()) <= 40


def test_a_terminal_is_looked_at() -> None:
    """Whoever sits at one sees what goes to stderr."""
    with pty(80) as (_, terminal), contextlib.redirect_stderr(terminal):
        assert is_interactive()


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, object(), closed(), io.StringIO()])
def test_without_a_stderr_nobody_looks(stream: Any) -> None:
    """Closed, replaced or not there, as under pythonw: no bar, and no error."""
    with contextlib.redirect_stderr(stream):
        assert not is_interactive()
    run(stream, range(3), 3, None)


@pytest.mark.parametrize(
    ("shell", "expected"), [(Notebook(), True), (object(), False), (None, False)]
)
def test_a_notebook_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, shell: Any, expected: bool
) -> None:
    """There stderr is no terminal, but there is a kernel; IPython alone is no sign."""
    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: shell  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    with contextlib.redirect_stderr(io.StringIO()):
        assert is_interactive() is expected
