"""`gridengine.map` and `starmap`: what the builtins do, on workers."""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import operator
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gridengine
from dask_gridengine import OptionError
from gridengine.errors import NotPicklable
from gridengine.functional import isexception, isnumeric, partial

pytestmark = pytest.mark.keeps_cluster


class Odd(Exception):
    """Raised for some items."""


def picky(x: int) -> int:
    if x % 7 == 3:
        raise Odd(x)
    return x * x


def outcome(call: Callable[[], Any]) -> tuple[Any, ...]:
    """The result or the exception of a call, in a form that can be compared."""
    try:
        return ("value", call())
    except Exception as exc:  # noqa: BLE001 - it is compared
        return ("error", type(exc), exc.args)


@given(
    items=st.lists(st.integers(-50, 50), max_size=60),
    chunksize=st.none() | st.integers(1, 9),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_map_is_the_builtin(
    warm: gridengine.ProcessScheduler, items: list[int], chunksize: int | None
) -> None:
    """Same results in the same order, or the exception of the first failing item."""

    def ours() -> Any:
        return gridengine.map(picky, items, scheduler=warm, chunksize=chunksize)

    assert outcome(ours) == outcome(lambda: [picky(x) for x in items])


@pytest.mark.parametrize(
    "items",
    [
        [],
        [5],
        (1, 2),
        range(1000),
        {"a": 1, "b": 2},
        {3, 1, 2},
        "text",
        b"bytes",
        np.arange(6),
        np.arange(6).reshape(3, 2),
        [None, None],
        [np.zeros(3), "mixed", {1: 2}],
    ],
    ids=lambda items: type(items).__name__,
)
def test_any_iterable(warm: gridengine.ProcessScheduler, items: Any) -> None:
    """The items are those of the builtin map, and any value may be one."""
    found = gridengine.map(repr, items, scheduler=warm)
    assert found == [repr(x) for x in items]


def test_a_container_that_misreports_its_length(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Iteration decides, as with the builtin."""

    class Lying:
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[int]:
            return iter(range(10))

    assert gridengine.map(abs, Lying(), scheduler=warm) == list(range(10))


def test_a_subclass_of_list_is_iterated(warm: gridengine.ProcessScheduler) -> None:
    """Its own __iter__ decides which items there are."""

    class Doubled(list[int]):
        def __iter__(self) -> Iterator[int]:
            return (2 * x for x in super().__iter__())

    assert gridengine.map(abs, Doubled([1, 2]), scheduler=warm) == [2, 4]


def test_a_generator_is_read_in_the_callers_thread(
    warm: gridengine.ProcessScheduler,
) -> None:
    """It is read to its end, once; None is a result like others."""
    threads = set()

    def items() -> Iterator[int]:
        for i in range(300):
            threads.add(threading.get_ident())
            yield i

    assert gridengine.map(lambda x: None, items(), scheduler=warm) == [None] * 300
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("count", [0, 1, 100])
def test_an_exception_of_the_iterable_is_raised(
    warm: gridengine.ProcessScheduler, count: int
) -> None:
    """map raises what its input raises, and the workers are free again."""

    def items() -> Iterator[int]:
        yield from range(count)
        raise Odd("the input")

    with pytest.raises(Odd, match="the input"):
        gridengine.map(abs, items(), scheduler=warm)
    assert gridengine.map(abs, [-1], scheduler=warm) == [1]


def test_lambdas_closures_and_what_they_return(
    warm: gridengine.ProcessScheduler,
) -> None:
    """Functions need not be importable, and may return functions."""
    offset = 10
    made = gridengine.map(lambda x: lambda: x + offset, [1, 2], scheduler=warm)
    assert [f() for f in made] == [11, 12]


def test_modules_that_are_registered_travel_by_value(
    warm: gridengine.ProcessScheduler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cloudpickle.register_pickle_by_value serves for modules that workers lack."""
    (tmp_path / "only_here.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("only_here")
    cloudpickle.register_pickle_by_value(module)
    try:
        assert gridengine.map(module.double, [1, 2], scheduler=warm) == [2, 4]
    finally:
        cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.parametrize("make", [lambda f: f, partial], ids=["plain", "partial"])
def test_starmap(warm: gridengine.ProcessScheduler, make: Callable[..., Any]) -> None:
    """starmap(f, pairs) is [f(*pair) for pair in pairs], with the options of map."""
    pairs = ((x, 2) for x in range(5))
    found = gridengine.starmap(make(operator.pow), pairs, warm, chunksize=2)
    assert found == [0, 1, 4, 9, 16]
    mixed = gridengine.starmap(divmod, [(5, 2), (1, 0)], warm, reraise=False)
    assert mixed[0] == (2, 1)
    assert isinstance(mixed[1], ZeroDivisionError)


@pytest.mark.parametrize("name", ["map", "imap", "imap_unordered"])
def test_several_iterables_name_starmap(name: str) -> None:
    """The builtin takes them; here the error says what does."""
    with pytest.raises(TypeError, match="starmap"):
        list(getattr(gridengine, name)(pow, [1, 2, 3], [2, 2, 2]))


def test_wrong_arguments(warm: gridengine.ProcessScheduler) -> None:
    """They are refused at once; the error names the argument."""
    wrong: Any
    for wrong in (3, None, "abs"):
        with pytest.raises(TypeError, match="not callable"):
            gridengine.map(wrong, [1], scheduler=warm)
        with pytest.raises(TypeError, match="not callable"):
            gridengine.imap(wrong, [1], scheduler=warm)
    for options in (
        {"chunksize": 0},
        {"chunksize": True},
        {"chunksize": 1.5},
        {"retries": -1},
    ):
        (name,) = options
        for function in (gridengine.map, gridengine.imap, gridengine.imap_unordered):
            with pytest.raises(OptionError, match=name):
                function(abs, [1], scheduler=warm, **options)
    for wrong in (5, None, np.array(3)):
        with pytest.raises(TypeError, match="iter"):
            gridengine.map(abs, wrong, scheduler=warm)
    with pytest.raises(TypeError, match="best_available"):
        gridengine.map(abs, [1], scheduler="process")


def test_numbers_may_be_numpys(warm: gridengine.ProcessScheduler) -> None:
    """chunksize= and retries= take an int of any type."""
    numbers: Any = {"chunksize": np.int64(2), "retries": np.int8(1)}
    assert gridengine.map(abs, [-1, -2, -3], warm, **numbers) == [1, 2, 3]
    assert list(gridengine.imap(abs, iter([-1, -2]), warm, **numbers)) == [1, 2]


def test_threads_share_a_scheduler(warm: gridengine.ProcessScheduler) -> None:
    """Maps from several threads at once each get their own results."""
    found: dict[int, list[int]] = {}

    def run(n: int) -> None:
        found[n] = gridengine.map(lambda x: x + n, range(200), scheduler=warm)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [x + n for x in range(200)] for n in range(4)}


# Inside a map


def test_a_map_inside_a_map(warm: gridengine.ProcessScheduler) -> None:
    """The inner map uses the workers of the outer one; no thread waits for itself."""

    def inner(n: int) -> int:
        return sum(gridengine.map(lambda x: x * x, range(n)))

    found = gridengine.map(inner, [10, 100, 50, 7], scheduler=warm, chunksize=1)
    assert found == [sum(i * i for i in range(n)) for n in (10, 100, 50, 7)]


def test_an_imap_inside_an_imap(warm: gridengine.ProcessScheduler) -> None:
    """The same for the lazy ones, three levels deep."""

    def level(depth: int) -> int:
        if depth == 0:
            return 1
        return int(sum(gridengine.imap(level, [depth - 1] * 2)))

    assert list(gridengine.imap(level, [2, 1, 0], warm, chunksize=1)) == [4, 2, 1]


def test_a_scheduler_cannot_go_inside_a_map(warm: gridengine.ProcessScheduler) -> None:
    """The error says that it is not needed there."""
    with pytest.raises(NotPicklable, match="scheduler="):
        gridengine.map(lambda x: warm, [1], scheduler=warm)


def start_a_process(x: int) -> int:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(abs, (x,))


def test_multiprocessing_inside_a_map(warm: gridengine.ProcessScheduler) -> None:
    """Dask forbids it by default, and a note on the error names its setting."""
    with pytest.raises(AssertionError, match="daemonic") as caught:
        gridengine.map(start_a_process, [-1], scheduler=warm)
    if sys.version_info >= (3, 11):
        assert "distributed.worker.daemon" in "".join(caught.value.__notes__)
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        gridengine.ProcessScheduler(1) as scheduler,
    ):
        assert gridengine.map(start_a_process, [-1], scheduler=scheduler) == [1]


# client=


def test_any_dask_client(client: Client) -> None:
    """client= uses the workers of any Dask cluster, and leaves it as it was."""
    found = gridengine.map(lambda x: x + 1, range(50), client=client)
    assert found == list(range(1, 51))
    array = np.ones(1_000_000)
    assert gridengine.map(np.sum, [array, array], client=client) == [1e6, 1e6]
    assert list(gridengine.imap(abs, iter(range(-3, 0)), client=client)) == [3, 2, 1]
    assert client.status == "running"


def test_a_client_behind_a_gateway(other_cluster: LocalCluster) -> None:
    """direct_to_workers=False is respected, and works."""
    with Client(
        other_cluster, set_as_default=False, direct_to_workers=False
    ) as gateway:
        assert gridengine.map(abs, range(-5, 0), client=gateway) == [5, 4, 3, 2, 1]


def test_a_closed_client_is_an_error(other_cluster: LocalCluster) -> None:
    """map does not wait for its results for ever."""
    client = Client(other_cluster, set_as_default=False)
    client.close()
    with pytest.raises(Exception):  # noqa: B017, PT011 - whichever Dask raises
        gridengine.map(abs, [1, 2], client=client)


def test_an_asynchronous_client_is_refused(other_cluster: LocalCluster) -> None:
    """map blocks, and would block the client's own loop."""

    async def use() -> Any:
        async with Client(
            other_cluster.scheduler_address, asynchronous=True, set_as_default=False
        ) as client:
            return gridengine.map(abs, [1], client=client)

    with pytest.raises(TypeError, match="asynchronous"):
        asyncio.run(use())


# The old library's helpers


def test_partial_keeps_the_name() -> None:
    """It is functools.partial with the name, docstring and module of the function."""
    f = partial(pow, 2, mod=5)
    assert f(3) == 3
    assert f.__name__ == "pow_2_5"
    assert f.__doc__ == pow.__doc__
    assert partial(sorted, key=len).__name__ == "sorted_len"
    assert pickle.loads(pickle.dumps(f)).__name__ == "pow_2_5"


def test_isexception_and_isnumeric() -> None:
    """They classify what map returns."""
    assert isexception(ValueError())
    assert not isexception(3)
    assert isnumeric("3.5")
    assert isnumeric(np.float64(1))
    assert not isnumeric([])
