"""The exceptions of `gridengine`, and what they call an item."""

from __future__ import annotations

import builtins
import inspect
import pickle
import re
from array import array
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_gridengine.errors import GridEngineError
from gridengine import errors
from gridengine.errors import (
    NotPicklable,
    RemoteError,
    RemoteTraceback,
    TimeoutError,
    WorkerDied,
    item_name,
    short_repr,
)

TRACEBACK = "Traceback (most recent call last):\n  File ...\n\nValueError: no\n"
EXAMPLES: list[Exception] = [
    TimeoutError("3 of 10 results are there after 5 s"),
    NotPicklable("item 17 of the arguments", "item 17 -> .log", "cannot pickle 'x'"),
    WorkerDied(17, "Point(x=1)", 3, "killed by signal 9 on node1", True),
    WorkerDied(None, "Job-3 f(1)", 1, "too much\n  Hint: memory='2 GB'"),
    WorkerDied(None, "", 1, ""),
    RemoteTraceback(17, "Point(x=1)", "ge-3@node1", TRACEBACK),
    RemoteError("mymodule.MyError", "it broke", "it cannot be pickled: no"),
]
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, Exception) and cls.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_error_survives_pickling(error: Exception) -> None:
    """An error that crosses a process says there what it said here."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.args == error.args


def test_every_error_has_an_example() -> None:
    """A new class is tested through pickle, or this fails."""
    assert {type(error) for error in EXAMPLES} == set(CLASSES)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Every class stands there, below its parent, with a few words."""
    drawn: dict[str, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"( [|`]- )?([A-Z]\w+)  +\S", line):
            drawn[found[2]] = "GridEngineError" if found[1] else "Exception"
    assert drawn == {cls.__name__: cls.__mro__[1].__name__ for cls in CLASSES}


def test_users_catch_them_by_what_python_calls_them() -> None:
    """A timeout is a TimeoutError, what cannot be pickled a TypeError."""
    assert issubclass(TimeoutError, builtins.TimeoutError)
    assert issubclass(NotPicklable, TypeError)
    assert not issubclass(RemoteTraceback, GridEngineError)


@pytest.mark.parametrize(
    "parts",
    [
        ("3 of 10 results are there after 5 s", "the work goes on", "timeout=None"),
        ("item 17 of the arguments cannot be", "'x'\n", "item 17 -> .log\n", "inside"),
        ("item 17 (Point(x=1)) ended", "3 times", "signal 9", "memory=", "reraise=Fa"),
        (
            "the job Job-3 f(1) ended its worker process\n",
            "\n  too",
            "\n    Hint:",
        ),
        ("the job ended its worker process\n", "nothing is known", "os._exit"),
        ("item 17 (Point(x=1)) on ge-3@node1:\n  | Traceback (most", "\n  | \n"),
        ("mymodule.MyError: it broke\n", "since it cannot be pickled", "__new__"),
    ],
    ids=lambda parts: parts[0][:16],
)
def test_they_say_what_happened_and_what_to_do_next(parts: tuple[str, ...]) -> None:
    """The message is the only debugger on a cluster: evidence, then what to type."""
    assert any(all(part in str(error) for part in parts) for error in EXAMPLES)


def test_only_what_helps_is_advised() -> None:
    """One reason's own advice is enough; reraise= is for maps that lose results."""
    known, unknown = (e for e in EXAMPLES if getattr(e, "index", 0) is None)
    assert "os._exit" not in str(known)
    assert "reraise" not in str(known) + str(unknown)


def test_an_item_is_called_the_same_everywhere() -> None:
    """By its place and its repr, as far as they are known."""
    assert item_name(17, "Point(x=1)") == "item 17 (Point(x=1))"
    assert item_name(17, "") == "item 17"
    assert item_name(None, "Job-3 f(1)") == "the job Job-3 f(1)"
    assert item_name(None, "") == "the job"


class Untouchable:
    """Nobody may look at it."""

    def __repr__(self) -> str:
        raise AssertionError("was looked at")


class Rude(Untouchable):
    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


@dataclass
class Point:
    x: object
    hidden: object = field(default=0, repr=False)


@dataclass
class Quiet(Point):
    def __repr__(self) -> str:
        return "quiet"


class Names(list[str]):
    pass


Pair = namedtuple("Pair", "left right")
HUGE = [0] * 9 + [Untouchable()] * 10


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (17, "17"),
        (None, "None"),
        (True, "True"),
        ("a\nb", r"'a\nb'"),
        ((), "()"),
        ((1,), "(1,)"),
        ((1, [2, {3}]), "(1, [2, {3}])"),
        (set(), "set({})"),
        (frozenset([1]), "frozenset({1})"),
        ({"a": {"b": 1}}, "{'a': {'b': 1}}"),
        (deque([1]), "deque([1])"),
        (array("i", [1]), "array([1])"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (defaultdict(int, a=1), "defaultdict({'a': 1})"),
        (Counter("a"), "Counter({'a': 1})"),
        (Names("ab"), "Names(['a', 'b'])"),
        (Pair(1, HUGE), "Pair(left=1, right=[0, 0, 0, 0, 0, 0, ...])"),
        (Point(HUGE, hidden=HUGE), "Point(x=[0, 0, 0, 0, 0, 0, ...])"),
        (Quiet(1), "quiet"),
        ([[[[1]]]], "[[[[...]]]]"),
        (HUGE, "[0, 0, 0, 0, 0, 0, ...]"),
        (dict.fromkeys(range(9), 1), "{0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, ...}"),
        (range(10**9), "range(0, 1000000000)"),
        (1 << 10**6, "<int of 1000001 bits>"),
        (Untouchable(), "<Untouchable>"),
        (Rude(), "<Rude>"),
        ([Untouchable()], "<list>"),
        (np.arange(3), "array([0, 1, 2])"),
        (np.zeros((5000, 5000)), "<ndarray float64 of shape (5000, 5000)>"),
        (np.array([Untouchable()]), "<ndarray object of shape (1,)>"),
        (Point, "<class 'tests.gridengine.test_errors.Point'>"),
    ],
    ids=lambda item: type(item).__name__,
)
def test_an_item_is_shown_in_a_line(item: object, shown: str) -> None:
    """Small things as Python shows them, of big ones as much as is cheap."""
    assert short_repr(item) == shown


def test_what_is_long_keeps_its_ends() -> None:
    """Both ends of a name tell more than twice its beginning."""
    shown = short_repr("/data/" + "x" * 10**8 + "/run17.csv")
    assert shown.startswith("'/data/xxx")
    assert shown.endswith("xxx/run17.csv'")
    assert "..." in shown
    assert len(short_repr(b"\0" * 10**8)) == 80


def test_what_holds_itself_is_shown() -> None:
    """A cycle ends after a few turns."""
    cycle: list[object] = []
    cycle.append(cycle)
    assert short_repr(cycle) == "[[[[...]]]]"


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary() | st.builds(Untouchable),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.text(), inner)
            | st.tuples(inner, inner)
            | st.builds(Point, inner)
        ),
    )
)
def test_any_item_is_shown_in_a_short_line(item: object) -> None:
    """Whatever it is, no exception and no more than a line."""
    shown = short_repr(item)
    assert 0 < len(shown) <= 80
    assert "\n" not in shown
