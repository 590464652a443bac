"""What a map raises: exceptions of items, dead workers, what cannot be pickled."""

from __future__ import annotations

import asyncio
import collections
import functools
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridengine
from dask_gridengine import GridEngineCluster, NodesFailed, SubmitError
from gridengine.errors import NotPicklable, RemoteError, RemoteTraceback, WorkerDied
from tests.gridengine.conftest import RunScript
from tests.gridengine.helpers import wait_for
from tests.refusing import refusing_grid
from tests.waiting import wait_until

pytestmark = pytest.mark.keeps_cluster

LOCK = threading.Lock()


class Odd(Exception):
    """Raised for some items."""


def picky(x: int) -> int:
    if x % 7 == 3:
        raise Odd(x)
    return x * x


def error_of(
    scheduler: gridengine.ProcessScheduler, make: Callable[[], BaseException]
) -> BaseException:
    """What arrives of an exception that a function raises on a worker."""

    def fail(x: int) -> None:
        raise make()

    (found,) = gridengine.map(fail, [17], scheduler, reraise=False)
    assert isinstance(found, BaseException)
    return found


# Exceptions of items


@given(
    items=st.lists(st.integers(-50, 50), max_size=60),
    chunksize=st.none() | st.integers(1, 9),
)
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_exceptions_in_the_place_of_results(
    warm: gridengine.ProcessScheduler, items: list[int], chunksize: int | None
) -> None:
    """With reraise=False each item has its result or its own exception."""
    found = gridengine.map(picky, items, warm, reraise=False, chunksize=chunksize)
    comparable = [(type(x), x.args) if isinstance(x, Odd) else x for x in found]
    assert comparable == [(Odd, (x,)) if x % 7 == 3 else x * x for x in items]


def test_an_exception_says_where_it_comes_from(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Its cause has the index, the item, the worker, and the traceback from there."""
    with pytest.raises(Odd) as caught:
        gridengine.map(picky, [0, 1, 10, 3], scheduler=warm)
    assert caught.value.args == (10,)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert (cause.index, cause.item) == (2, "10")
    assert "ge-" in cause.worker
    assert cause.text.startswith("Traceback (most recent call last):")
    assert __file__ in cause.text.splitlines()[1], "it begins with the user's function"
    shown = "".join(traceback.format_exception(caught.value))
    assert "item 2 (10)" in shown
    assert "in picky" in shown
    assert "raise Odd(x)" in shown


def test_the_first_failing_item_in_order_is_raised(
    warm: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """Also if a later one fails first; most items behind it are not run."""

    def fail(x: int) -> None:
        (tmp_path / str(x)).touch()
        if x == 1:
            wait_for(str(tmp_path / "2"))
        if x in (1, 2):
            raise Odd(x)

    with pytest.raises(Odd) as caught:
        gridengine.map(fail, range(2000), scheduler=warm, chunksize=1)
    assert caught.value.args == (1,)
    assert len(list(tmp_path.iterdir())) < 200


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit,
        KeyboardInterrupt,
        StopIteration,
        GeneratorExit,
        asyncio.CancelledError,
        MemoryError,
    ],
)
def test_no_exception_ends_a_worker(
    warm: gridengine.ProcessScheduler, raised: type[BaseException]
) -> None:
    """SystemExit and its like are exceptions of their item; StopIteration too."""

    def fail(x: int) -> int:
        if x == 2:
            raise raised
        return x

    with pytest.raises(raised):
        gridengine.map(fail, range(4), scheduler=warm)
    found = gridengine.map(fail, range(4), warm, reraise=False)
    assert [type(x) for x in found] == [int, int, raised, int]


class WithCode(Exception):
    """Plain pickle cannot rebuild it from its args."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@pytest.mark.parametrize(
    ("make", "attributes"),
    [
        (lambda: Odd("it", "broke", 1), {}),
        (lambda: KeyError("a"), {}),
        (lambda: FileNotFoundError(2, "No such file", "a.csv"), {"filename": "a.csv"}),
        (lambda: UnicodeDecodeError("utf-8", b"x", 0, 1, "no"), {"start": 0}),
        (lambda: SystemExit(3), {"code": 3}),
        (lambda: WithCode("it broke", 5), {"code": 5}),
    ],
    ids=["own", "KeyError", "OSError", "UnicodeError", "SystemExit", "WithCode"],
)
def test_an_exception_arrives_as_it_was(
    warm: gridengine.ProcessScheduler,
    make: Callable[[], BaseException],
    attributes: dict[str, Any],
) -> None:
    """Type, args, message and attributes are the same."""
    back, exc = error_of(warm, make), make()
    assert type(back) is type(exc)
    assert (back.args, str(back)) == (exc.args, str(exc))
    assert {name: getattr(back, name) for name in attributes} == attributes


def test_what_users_attach_to_an_exception_arrives(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Attributes and notes of their own."""

    def make() -> BaseException:
        exc: Any = Odd("it broke")
        exc.point = {"x": [1, 2]}
        if sys.version_info >= (3, 11):
            exc.add_note("a note of the user's")
        made: BaseException = exc
        return made

    back: Any = error_of(warm, make)
    assert back.point == {"x": [1, 2]}
    if sys.version_info >= (3, 11):
        assert "a note of the user's" in back.__notes__


def test_chained_exceptions_travel_as_text(warm: gridengine.ProcessScheduler) -> None:
    """They are in the traceback, and need not be picklable."""

    def fail(x: int) -> None:
        try:
            raise Odd("the root", threading.Lock())
        except Odd as exc:
            raise ValueError("it broke") from exc

    (found,) = gridengine.map(fail, [1], warm, reraise=False)
    assert type(found) is ValueError
    assert "the root" in str(found.__cause__)


class NeedsKeyword(Exception):
    """Cannot be made from its args."""

    def __init__(self, *, run: int) -> None:
        super().__init__(f"run {run}")


class Choosy(Exception):
    """Can be pickled, but not rebuilt."""

    def __new__(cls, key: str = "") -> Choosy:
        if key != "secret":
            raise KeyError("key")
        return super().__new__(cls)

    def __init__(self, key: str) -> None:
        super().__init__("without the key")


class Unprintable(Exception):
    """Cannot even be shown."""

    def __str__(self) -> str:
        raise ArithmeticError


@pytest.mark.parametrize(
    "make",
    [
        lambda: Odd("it broke", threading.Lock()),
        lambda: NeedsKeyword(run=3),
        lambda: Choosy("secret"),
        lambda: Unprintable(threading.Lock()),
    ],
    ids=["lock", "keyword", "choosy", "unprintable"],
)
def test_an_exception_that_cannot_travel(
    warm: gridengine.ProcessScheduler, make: Callable[[], BaseException]
) -> None:
    """It arrives, or a RemoteError that names it, with the traceback as its cause."""
    back = error_of(warm, make)
    name = type(make()).__name__
    if isinstance(back, RemoteError):
        assert back.type_name.endswith(name)
        assert name in str(back)
        assert name != "Odd" or "it broke" in str(back)
    else:
        assert type(back).__name__ == name
    assert isinstance(back.__cause__, RemoteTraceback)
    assert "in fail" in str(back.__cause__)


class Untouchable:
    """Its repr is the user's code, and fails."""

    def __repr__(self) -> str:
        raise RuntimeError


def test_an_item_is_shown_in_a_short_line(warm: gridengine.ProcessScheduler) -> None:
    """However big it is, and whatever its repr does."""
    items = [
        17,
        list(range(1_000_000)),
        "x" * 10_000_000,
        {i: i for i in range(100_000)},
        np.zeros((3000, 3000)),
        "two\nlines",
        Untouchable(),
    ]

    def fail(x: object) -> None:
        raise Odd

    found = gridengine.map(fail, items, warm, reraise=False)
    shown = [exc.__cause__.item for exc in found]
    assert [exc.__cause__.index for exc in found] == list(range(len(items)))
    assert shown[0] == "17"
    assert shown[1].startswith("[0, 1, 2")
    assert all(len(text) <= 100 and "\n" not in text for text in shown)


def test_retries(warm: gridengine.ProcessScheduler, tmp_path: Path) -> None:
    """An item is tried again as often as asked, the others are run once."""

    def flaky(x: int) -> int:
        tries = len(list(tmp_path.glob(f"{x}-*")))
        (tmp_path / f"{x}-{tries}").touch()
        if x % 2 and tries < 2:
            raise Odd(x)
        return tries

    assert gridengine.map(flaky, range(6), scheduler=warm, retries=2) == [0, 2] * 3
    again = gridengine.imap(flaky, range(10, 14), scheduler=warm, retries=2)
    assert list(again) == [0, 2] * 2
    with pytest.raises(Odd):
        gridengine.map(flaky, [7], scheduler=warm, retries=1)


@pytest.mark.parametrize(
    "run",
    [gridengine.map, lambda *args, **options: list(gridengine.imap(*args, **options))],
    ids=["map", "imap"],
)
def test_a_retry_at_the_end_of_a_chunk_loses_no_result(
    warm: gridengine.ProcessScheduler, tmp_path: Path, run: Callable[..., list[int]]
) -> None:
    """Also if the results of the next chunk are there already."""

    def fail_once(x: int) -> int:
        if x == 2:
            wait_for(str(tmp_path / "5"))
        if x == 3 and not (tmp_path / "3").exists():
            (tmp_path / "3").touch()
            raise Odd(x)
        if x == 5:
            (tmp_path / "5").touch()
        return x

    given = fail_once, list(range(8)), warm
    assert run(*given, chunksize=2, retries=1) == list(range(8))


@pytest.mark.parametrize("reason", ["x < 1 and 1 / x", "x > 5 and os._exit(1)", "x"])
def test_a_map_that_ends_early_prints_nothing(
    run_script: RunScript, reason: str
) -> None:
    """An error, or the end of the loop, cancels what is running in silence."""
    ran = run_script(
        "import gc, gridengine, os, time\n"
        "def work(x):\n"
        f"    {reason}\n"
        "    time.sleep(0.05)\n"
        "if __name__ == '__main__':\n"
        "    with gridengine.ProcessScheduler(2) as scheduler:\n"
        "        for run in gridengine.map, gridengine.imap:\n"
        "            try:\n"
        "                for _ in run(work, range(40), scheduler, chunksize=1):\n"
        "                    break\n"
        "            except Exception as exc:\n"
        "                print(type(exc).__name__)\n"
        "            gridengine.map(time.sleep, [0.5], scheduler)\n"
        "            gc.collect()\n"
    )
    assert (ran.returncode, ran.stderr) == (0, "")


# What cannot be pickled


class Holder:
    """Holds a thing, of a module that can be imported."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    def method(self, x: object) -> object:
        return x


@pytest.mark.parametrize(
    ("item", "names"),
    [
        (LOCK, []),
        ([1, {"deep": LOCK}], ["[1]", "'deep'"]),
        (Holder(LOCK), ["handle"]),
        (Holder({"log": [LOCK]}), ["handle", "'log'"]),
        ((x for x in "generator"), ["generator"]),
    ],
    ids=["lock", "container", "attribute", "deep attribute", "generator"],
)
def test_an_item_that_cannot_be_pickled_is_named(
    warm: gridengine.ProcessScheduler, item: Any, names: list[str]
) -> None:
    """By its index and the way to the part that is to blame; it is a TypeError."""
    with pytest.raises(NotPicklable) as caught:
        gridengine.map(str, [*range(5000), item], scheduler=warm)
    assert isinstance(caught.value, TypeError)
    for part in ("item 5000", "cannot pickle", "Hint:", *names):
        assert part in str(caught.value)
    with pytest.raises(NotPicklable, match="item 50"):
        list(gridengine.imap(str, iter([*range(50), item]), scheduler=warm))


def test_a_function_that_cannot_be_pickled_is_named(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """With the variable that is to blame, and before anything is started."""
    guard, function = threading.Lock(), gridengine.functional.partial(max, key=LOCK)
    for wrong, part in (
        (lambda x: guard, "guard"),
        (Holder(LOCK).method, "handle"),
        (function, "key"),
    ):
        with pytest.raises(NotPicklable) as caught:
            gridengine.map(wrong, [1], scheduler=fresh)
        assert part in str(caught.value)
    assert fresh.cluster is None


def test_a_result_that_cannot_be_pickled(warm: gridengine.ProcessScheduler) -> None:
    """It is a failure of its item only."""

    def make(x: int) -> Any:
        if x == 3:
            raise Odd(x)
        return {"lock": threading.Lock()} if x == 1 else x

    for chunksize in (None, 5):
        found = gridengine.map(make, range(5), warm, reraise=False, chunksize=chunksize)
        assert found[::2] == [0, 2, 4]
        assert isinstance(found[1], NotPicklable)
        assert "lock" in str(found[1])
        assert isinstance(found[3], Odd)


class Unrebuildable:
    """Can be pickled, but not be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("seventeen",)


@pytest.mark.parametrize("where", ["item", "function", "result"])
def test_what_cannot_be_rebuilt_is_an_error(
    warm: gridengine.ProcessScheduler, where: str
) -> None:
    """No map waits for it for ever; the error has the reason."""
    wrong = Unrebuildable()
    function: Any = {
        "item": abs,
        "function": Holder(wrong).method,
        "result": lambda x: Unrebuildable(),
    }[where]
    with pytest.raises(Exception, match="seventeen"):
        gridengine.map(function, [wrong if where == "item" else 1], scheduler=warm)
    assert gridengine.map(abs, [-1, -2], scheduler=warm) == [1, 2]


# Workers that die


def test_a_deadly_item_is_named(fresh: gridengine.ProcessScheduler) -> None:
    """It is found among a thousand and takes no other item with it."""

    def deadly(x: int) -> int:
        if x == 37:
            os._exit(3)
        return x

    found = gridengine.map(deadly, range(1000), fresh, reraise=False)
    killed = found.pop(37)
    assert found == [x for x in range(1000) if x != 37]
    assert isinstance(killed, WorkerDied)
    assert (killed.index, killed.item, killed.times) == (37, "37", 3)
    assert "reraise" not in str(killed)
    with pytest.raises(WorkerDied) as caught:
        gridengine.map(deadly, [36, 37, 38], scheduler=fresh)
    assert caught.value.index == 1
    assert caught.value.others_lost
    for part in ("item 1 (37)", "Hint:", "reraise=False"):
        assert part in str(caught.value)


def test_imap_names_a_deadly_item_and_goes_on(
    fresh: gridengine.ProcessScheduler,
) -> None:
    """Its place in the results is kept."""

    def deadly(x: int) -> int:
        if x == 3:
            os._exit(3)
        return x

    found = list(gridengine.imap(deadly, iter(range(8)), fresh, reraise=False))
    killed = found.pop(3)
    assert found == [0, 1, 2, 4, 5, 6, 7]
    assert isinstance(killed, WorkerDied)
    assert killed.index == 3


def test_deaths_of_an_item_are_one_error(run_script: RunScript) -> None:
    """WorkerDied says all; nothing is printed for each worker that the item ended."""
    ran = run_script(
        "import gridengine, os\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        gridengine.map(lambda x: os._exit(1) if x == 3 else x, range(9))\n"
        "    except gridengine.WorkerDied as exc:\n"
        "        print(exc.index, exc.times)\n"
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "3 3\n", "")


def test_a_death_costs_a_chunk_only(
    fresh: gridengine.ProcessScheduler, tmp_path: Path
) -> None:
    """A worker that dies once, with one item, loses no result and the map goes on."""

    def dies_once(x: int) -> int:
        if x == 20 and not (tmp_path / "died").exists():
            (tmp_path / "died").touch()
            os._exit(1)
        with (tmp_path / f"{x}-{time.monotonic_ns()}").open("x"):
            return x

    assert gridengine.map(dies_once, range(100), fresh, chunksize=5) == list(range(100))
    runs = collections.Counter(
        int(path.name.partition("-")[0]) for path in tmp_path.glob("*-*")
    )
    # Only what was on the dead worker may have been run twice: two chunks of five.
    assert sum(count > 1 for count in runs.values()) <= 10


def test_an_item_that_needs_too_much_memory(local_options: dict[str, Any]) -> None:
    """WorkerDied has the limit among its reasons, and what to ask for."""

    def greedy(x: int) -> int:
        for _ in range(100):
            held.append(b"x" * 10_000_000)
            time.sleep(0.01)
        return x

    held: list[bytes] = []
    options = {**local_options, "memory": "300 MB"}
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(WorkerDied) as caught,
    ):
        gridengine.map(greedy, [7], scheduler=scheduler)
    assert "memory limit" in caught.value.reasons
    assert "memory='450 MB'" in str(caught.value)


# Workers that never come


@pytest.mark.parametrize(
    "run",
    [
        gridengine.map,
        functools.partial(gridengine.map, reraise=False),
        lambda *args: list(gridengine.imap(*args)),
    ],
    ids=["map", "reraise=False", "imap"],
)
def test_workers_that_cannot_start(
    local_options: dict[str, Any], run: Callable[..., Any]
) -> None:
    """No map waits for them: it raises what is known of their end."""
    options = {**local_options, "python": "/nowhere/python"}
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(NodesFailed, match="/nowhere/python"),
    ):
        run(abs, range(50), scheduler)


def test_a_failure_that_is_repaired(
    local_options: dict[str, Any], tmp_path: Path
) -> None:
    """After NodesFailed the next map tries again, at once."""
    python = tmp_path / "python"
    options = {**local_options, "python": str(python)}
    with gridengine.GridEngineScheduler(options=options) as scheduler:
        with pytest.raises(NodesFailed, match="Python"):
            gridengine.map(abs, [-1], scheduler=scheduler)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        python.chmod(0o700)
        assert gridengine.map(abs, [-1, -2], scheduler=scheduler) == [1, 2]


def test_the_cluster_of_a_client_is_asked(local_options: dict[str, Any]) -> None:
    """Where it says that no worker will come, a map with client= does not wait."""
    options = {**local_options, "python": "/nowhere/python"}
    with (
        GridEngineCluster(jobs=3, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        wait_until(lambda: cluster.stuck() is not None, "its end", 20, cluster.explain)
        with pytest.raises(NodesFailed, match="/nowhere/python"):
            gridengine.map(abs, [1, 2], client=client)


def test_refusals_come_out_of_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the grid refuses is an error, not a wait."""
    refusing_grid(tmp_path, monkeypatch)
    options = {"launcher": "drmaa", "quiet": True}
    with (
        gridengine.GridEngineScheduler(options=options) as scheduler,
        pytest.raises(SubmitError, match="unknown queue"),
    ):
        gridengine.map(abs, [1], scheduler=scheduler)
