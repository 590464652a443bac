"""Exceptions on their way from a worker to the host."""

from __future__ import annotations

import copyreg
import pickle
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import distributed.utils  # noqa: F401 - registers tblib's reducers, as on a worker
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridengine.errors import RemoteError, RemoteTraceback
from gridengine.failure import MOST_PAYLOAD, MOST_TRACEBACK, Failure, short_repr

NOTES = sys.version_info >= (3, 11)
LOCK = threading.Lock()


class Plain(Exception):
    """Has attributes."""


class Registered(Exception):
    """Its attributes cannot be pickled."""


class TwoArguments(Exception):
    """Can be pickled, but not unpickled by itself."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class Composed(Exception):
    """Would be composed once more when it is unpickled."""

    def __init__(self, code: object) -> None:
        super().__init__(f"code {code}")


class NoSuchRun(OSError):
    """An OSError with an __init__ of its own."""

    def __init__(self, *, run: int) -> None:
        super().__init__(2, "no such run", f"run{run}.csv")
        self.run = run


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, *, code: int) -> None:
        self.code = code


class Choosy(Exception):
    """Cannot be made but in its own way."""

    def __new__(cls, key: str = "") -> Choosy:
        if key != "secret":
            raise KeyError("key")
        return super().__new__(cls)

    def __init__(self, key: str) -> None:
        super().__init__("without the key")


class Impostor(Exception):
    """Unpickles as something else."""

    def __new__(cls, *args: Any) -> Impostor:
        if args:
            return Plain()  # type: ignore[return-value]
        return super().__new__(cls)

    def __init__(self) -> None:
        super().__init__("me")

    def __reduce__(self) -> Any:
        return str, ("not me",)


class Sealed(Exception):
    """Forbids its attributes, also by name."""

    __cause__ = property(lambda self: None)  # type: ignore[assignment]
    __notes__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


def evil(*names: str, how: type[BaseException] = ArithmeticError) -> Any:
    """An exception whose methods of these names raise."""

    def refuse(*_: object) -> Any:
        raise how("evil")

    return type("Evil", (Exception,), dict.fromkeys(names, refuse))


def raised(exc: BaseException) -> BaseException:
    """With a traceback, as the worker catches it."""
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001 - also SystemExit
        return caught


def sent(exc: BaseException, item: object = "item") -> Failure:
    """Over the wire and with its index in the input."""
    failure = Failure.of(raised(exc), 1, item, "ge-3@node1")
    copy: Failure = pickle.loads(pickle.dumps(failure))
    assert copy == failure
    return copy.at(17)


EXCEPTIONS = [
    Plain("it", "broke", 1),
    ValueError(),
    KeyError("a"),
    OSError(2, "No such file", "a.csv"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    StopIteration(3),
    KeyboardInterrupt(),
    SystemExit(3),
    GeneratorExit(),
    TwoArguments("it broke", 5),
    Composed(5),
    NoSuchRun(run=5),
    Frozen(5),
    Slotted(code=5),
    evil("__reduce__")(5),
    evil("__reduce_ex__")(5),
    evil("__setattr__", "__getattr__", "__str__", "__repr__")(5),
]


@pytest.mark.parametrize("exc", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
def test_an_exception_arrives_as_it_was(exc: BaseException) -> None:
    """Type, args and attributes are the same; the cause says where it was raised."""
    back = sent(exc).rebuild()
    assert type(back) is type(exc)
    assert back.args == exc.args
    mine = {name: v for name, v in vars(back).items() if name != "__notes__"}
    assert mine == vars(exc)
    for name in ("errno", "filename", "code", "value", "start"):
        if type(exc).__name__ != "Evil" and hasattr(exc, name):
            assert getattr(back, name) == getattr(exc, name)
    assert isinstance(back.__cause__, RemoteTraceback)
    assert back.__traceback__ is None


@pytest.mark.parametrize("exc", [Plain("a"), NoSuchRun(run=5), Composed(5)])
def test_its_message_is_the_same(exc: Exception) -> None:
    """Users and their tests match on it."""
    assert str(sent(exc).rebuild()) == str(exc)


def test_the_cause_says_where_it_was_raised() -> None:
    """Which item, which worker, and the traceback from there."""
    back = sent(Plain("it broke"), [1, 2]).rebuild()
    cause = back.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert (cause.index, cause.item, cause.worker) == (17, "[1, 2]", "ge-3@node1")
    assert cause.text.startswith("Traceback (most recent call last):")
    assert "raise exc" in cause.text
    shown = "".join(traceback.format_exception(type(back), back, None))
    assert "item 17 ([1, 2]) on ge-3@node1:\n  | Traceback" in shown
    assert shown.index("The above exception was the direct") < shown.index("\ntests.")


@pytest.mark.skipif(not NOTES, reason="notes are new in Python 3.11")
def test_a_note_says_which_item_it_was() -> None:
    """Behind the notes that it has already."""
    exc = Plain("it broke")
    exc.__notes__ = ["a note of the user's"]
    back = sent(exc).rebuild()
    note = "gridengine: item 17 ('item') on ge-3@node1"
    assert back.__notes__ == ["a note of the user's", note]
    assert replace(sent(exc), worker="").rebuild().__notes__[-1].endswith("('item')")


def test_attributes_travel() -> None:
    """What users attach to an exception is there on the host."""
    exc = Plain("it broke")
    exc.point = {"x": [1, 2]}  # type: ignore[attr-defined]
    assert vars(sent(exc).rebuild())["point"] == {"x": [1, 2]}


def test_each_rebuilt_exception_is_a_new_one() -> None:
    """Two callers that raise it do not share its traceback."""
    failure = sent(Plain("it broke"))
    assert failure.rebuild() is not failure.rebuild()


def test_chained_exceptions_travel_as_text() -> None:
    """They are in the traceback, and need not be picklable."""
    try:
        try:
            raise Plain("the root", LOCK)
        except Plain:
            raise ValueError("it broke") from Plain("the reason", LOCK)
    except ValueError as exc:
        back = Failure.of(exc, 0, 1).rebuild()
    assert type(back) is ValueError
    assert "Plain: ('the reason'" in str(back.__cause__)
    assert back.__context__ is None


def test_a_reducer_of_the_users_own_is_used() -> None:
    """Whoever registered one knew how to pickle this exception."""
    exc = Registered("it broke")
    exc.lock = LOCK  # type: ignore[attr-defined]
    copyreg.pickle(Registered, lambda exc: (Registered, exc.args))
    try:
        back = sent(exc).rebuild()
    finally:
        del copyreg.dispatch_table[Registered]
    assert type(back) is Registered
    assert back.args == ("it broke",)


def test_an_exception_of_a_script_arrives_as_the_same_type() -> None:
    """`except MyError` in a script catches what its function raised on a worker."""
    script = (
        "import pickle, subprocess, sys, cloudpickle\n"
        "class MyError(Exception):\n"
        "    def __init__(self, a, b): super().__init__(a); self.b = b\n"
        "def f(): raise MyError(1, 2)\n"
        "worker = '''import pickle, sys\n"
        "from gridengine.failure import Failure\n"
        "f = pickle.load(sys.stdin.buffer)\n"
        "try: f()\n"
        "except Exception as exc: failure = Failure.of(exc, 0, 1)\n"
        "sys.stdout.buffer.write(pickle.dumps(failure))'''\n"
        "done = subprocess.run([sys.executable, '-c', worker], check=True,\n"
        "    input=cloudpickle.dumps(f), stdout=subprocess.PIPE)\n"
        "try: raise pickle.loads(done.stdout).rebuild()\n"
        "except MyError as exc: assert (exc.args, exc.b) == ((1,), 2)\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", script], cwd=root, check=True, timeout=60)


@pytest.mark.skipif(not NOTES, reason="groups are new in Python 3.11")
def test_a_group_arrives_with_its_members() -> None:
    """Also one in another."""
    from builtins import ExceptionGroup

    group = ExceptionGroup("all", [ValueError(1), ExceptionGroup("", [Plain(2)])])
    back = sent(group).rebuild()
    assert isinstance(back, ExceptionGroup)
    assert repr(back) == repr(group)
    bad = sent(ExceptionGroup("all", [Plain(LOCK)])).rebuild()
    assert isinstance(bad, RemoteError)


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (Plain(LOCK), "cannot be pickled: TypeError: cannot pickle '_thread.lock'"),
        (Choosy("secret"), "can be pickled but not be rebuilt: KeyError: 'key'"),
        (Impostor(), "it unpickles as another type, Plain"),
        (Plain(bytes(MOST_PAYLOAD)), "its pickle is bigger than 10 MB"),
        (Plain(*["x" * 100] * 9, bytearray(MOST_PAYLOAD)), "bigger than 10 MB"),
    ],
    ids=["lock", "choosy", "impostor", "big", "bigger"],
)
def test_what_cannot_travel_has_a_stand_in(exc: BaseException, reason: str) -> None:
    """It says what the original was, what it said, and why it is not here."""
    back = sent(exc).rebuild()
    assert isinstance(back, RemoteError)
    assert back.type_name == f"{__name__}.{type(exc).__name__}"
    assert back.text[:20] == str(exc)[:20]
    assert reason in back.reason
    assert isinstance(back.__cause__, RemoteTraceback)


def test_a_class_that_the_host_has_not_has_a_stand_in() -> None:
    """The worker may have modules that the host lacks."""
    module = types.ModuleType("only_on_the_worker")
    exec("class MyError(Exception): pass", vars(module))
    sys.modules[module.__name__] = module
    try:
        failure = sent(module.MyError("it broke"))
        assert type(failure.rebuild()) is module.MyError
    finally:
        del sys.modules[module.__name__]
    back = failure.rebuild()
    assert isinstance(back, RemoteError)
    assert str(back).startswith("only_on_the_worker.MyError: it broke\n")
    assert "No module named 'only_on_the_worker'" in back.reason


def test_an_exception_that_forbids_everything_arrives_without() -> None:
    """Better without cause and note than not at all."""
    back = sent(Sealed("it broke")).rebuild()
    assert type(back) is Sealed
    assert back.args == ("it broke",)


METHODS = [
    "__str__",
    "__repr__",
    "__reduce__",
    "__reduce_ex__",
    "__getstate__",
    "__setstate__",
    "__getattribute__",
    "__setattr__",
    "__eq__",
    "__hash__",
    "__init__",
]


@given(st.sets(st.sampled_from(METHODS)))
def test_no_exception_is_too_evil(names: set[str]) -> None:
    """Whatever it refuses, there is a failure, and something to raise."""
    cls = evil(*names)
    exc = cls.__new__(cls, "evil")
    failure = pickle.loads(pickle.dumps(Failure.of(exc, 0, exc, "w")))
    back = failure.rebuild()
    assert isinstance(back, RemoteError) or type(back).__name__ == "Evil"
    assert failure.type_name.endswith("Evil")


def test_an_exception_that_exits_does_not_end_the_worker() -> None:
    """Taking it down catches more than Exception."""
    exc = evil("__str__", "__reduce__", how=SystemExit)()
    exc.lock = LOCK
    failure = Failure.of(exc, 0, evil("__repr__", how=SystemExit)())
    assert (failure.item, failure.text) == ("?", "(its str() failed)")
    assert isinstance(failure.rebuild(), RemoteError)


def test_strings_that_are_more_than_strings_are_made_plain() -> None:
    """The text of an exception never keeps its failure from travelling."""

    class Text(str):
        lock = LOCK

    exc = type("Odd", (Exception,), {"__str__": lambda self: Text("odd"), "l": LOCK})()
    failure = Failure.of(exc, 0, 1)
    assert type(failure.text) is str
    assert pickle.loads(pickle.dumps(failure)).rebuild().text == "odd"


def test_a_traceback_is_bounded() -> None:
    """Its head says where it began, its tail what happened."""
    failure = Failure.of(raised(Plain("x" * 10**6 + " the end")), 0, 1)
    assert len(failure.traceback) < MOST_TRACEBACK + 100
    assert failure.traceback.startswith("Traceback")
    assert failure.traceback.endswith(" the end\n")
    assert "characters are left out" in failure.traceback


def calling(module: str) -> Callable[[Callable[[], Any]], Any]:
    """A function of a module of that name, which calls its argument."""
    scope: dict[str, Any] = {"__name__": module}
    exec("def frame(call): return call()", scope)
    function: Callable[[Callable[[], Any]], Any] = scope["frame"]
    return function


@pytest.mark.parametrize(
    ("modules", "left"),
    [
        (["gridengine.chunk"], 0),
        (["gridengine.chunk", "gridengine.other"], 0),
        (["gridengine_of_a_user", "gridengine.chunk"], 2),
    ],
    ids=str,
)
def test_our_own_frames_are_left_out(modules: list[str], left: int) -> None:
    """A traceback begins with the user's function."""
    call: Callable[[], Any] = lambda: 1 / 0  # noqa: E731 - a frame of its own
    for module in reversed(modules):
        call = partial(calling(module), call)
    with pytest.raises(ZeroDivisionError) as caught:
        call()
    exc = caught.value
    assert exc.__traceback__ is not None
    exc.__traceback__ = exc.__traceback__.tb_next  # not this test's own
    seen = Failure.of(exc, 0, None).traceback
    assert seen.count("in frame") == left
    assert "in <lambda>" in seen


def test_an_error_of_our_own_shows_where() -> None:
    """Without a frame nobody could mend it."""
    with pytest.raises(ValueError, match="invalid literal") as caught:
        calling("gridengine.chunk")(partial(int, "x"))
    exc = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    assert "in frame" in Failure.of(exc, 0, None).traceback


def test_a_failure_knows_its_item() -> None:
    """By a short repr, made where the item is."""
    assert sent(Plain(), list(range(10**6))).item == "[0, 1, 2, 3, 4, 5, ...]"
    assert Failure.of(Plain(), 3, 1).index == 3
    assert sent(Plain()).index == 17
    assert short_repr("a") == "'a'"


def test_it_is_pickled_by_its_name() -> None:
    """The host reads it with plain pickle."""
    assert b"gridengine.failure" in pickle.dumps(sent(Plain()))


def test_nothing_heavy_is_imported() -> None:
    """A worker's child process loads these modules without Dask."""
    code = (
        "import sys, gridengine.failure, gridengine.unpicklable\n"
        "heavy = {'dask', 'distributed', 'numpy', 'tornado', 'tblib'}\n"
        "assert not heavy & {*sys.modules}, heavy & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
