"""Which part of an object cannot be pickled."""

from __future__ import annotations

import functools
import pickle
import threading
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridengine.errors import NotPicklable
from gridengine.unpicklable import MOST_PRINTED, culprit

LOCK = threading.Lock()
REASON = "cannot pickle '_thread.lock' object"


class Box:
    """Holds things, of a module that can be imported."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("handle", "name")

    def __init__(self, handle: Any) -> None:
        self.name, self.handle = "slotted", handle


@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any = 0


class Stateful(Box):
    def __getstate__(self) -> Any:
        return ("state", self.held)


class Reduced(Box):
    def __reduce__(self) -> Any:
        return Box.method, (1, self.held)


class Refusing:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("I am not\nto be pickled")


class Mute(Refusing):
    def __reduce_ex__(self, protocol: Any) -> Any:
        class MuteError(Exception):
            def __str__(self) -> str:
                raise ValueError

        raise MuteError


class Bottomless:
    def __reduce__(self) -> Any:
        return Bottomless, (Bottomless(),)


Pair = namedtuple("Pair", "left right")


def by_value(source: str, **scope: Any) -> Any:
    """What a script defines: cloudpickle takes it along instead of its name."""
    exec(source, {"__name__": "__main__", **scope}, scope)
    return scope["it"]


def closed(lock: Any) -> Callable[[], None]:
    def square() -> None:
        print(lock)  # noqa: T201 - it is never called

    return square


def path_of(obj: object, what: str = "item 3 of the arguments") -> str:
    """The path, after checking that what is found is the lock."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it raises
        cloudpickle.dumps(obj)
    assert "pickle" in str(caught.value)
    found = culprit(obj, what)
    assert found.reason == REASON
    assert found.what == what
    return found.path


@pytest.mark.parametrize(
    ("obj", "path"),
    [
        (LOCK, "item 3"),
        ([1, LOCK], "item 3 -> [1]"),
        ((1, [LOCK]), "item 3 -> [1] -> [0]"),
        ({"a": 1, "b": {2: LOCK}}, "item 3 -> ['b'] -> [2]"),
        ({LOCK: 1}, "item 3 -> key <unlocked _thread.lock object at"),
        ({1, LOCK}, "item 3 -> element <unlocked _thread.lock object at"),
        (Box(config={"log": LOCK}), "item 3 -> .config -> ['log']"),
        (Slotted(LOCK), "item 3 -> .handle"),
        (Point(1, LOCK), "item 3 -> .y"),
        (Pair(1, LOCK), "item 3 -> .right"),
        (deque([1, LOCK]), "item 3 -> [1]"),
        (OrderedDict(a=LOCK), "item 3 -> ['a']"),
        (defaultdict(closed(LOCK)), "item 3 -> argument 0 of defaultdict -> closure"),
        (Stateful(held=LOCK), "item 3 -> its state -> [1]"),
        (Reduced(held=LOCK), "item 3 -> argument 1 of method"),
        (np.array([None, LOCK]), "item 3 -> its state -> [4] -> [1]"),
        ([closed(LOCK)], "item 3 -> [0] -> closure variable 'lock'"),
        (closed(LOCK), "square -> closure variable 'lock'"),
        (Box(held=LOCK).method, "Box.method -> self -> .held"),
        (LOCK.acquire, "lock.acquire -> self"),
        (functools.partial(closed(LOCK)), "partial -> square -> closure variable"),
        (functools.partial(max, 1, LOCK), "partial -> argument 1"),
        (functools.partial(max, key=LOCK), "partial -> argument 'key'"),
        (functools.wraps(closed(LOCK))(by_value("it = lambda: 1")), ".__wrapped__"),
        (by_value("it = lambda: lock", lock=LOCK), "lambda (<string>:1) -> global 'lo"),
        (by_value("it = lambda a, b=lock: 1", lock=LOCK), "-> default of 'b'"),
        (by_value("it = lambda a, *, b=lock: 1", lock=LOCK), "-> default of 'b'"),
        (by_value("it = lambda: lambda: lock", lock=LOCK), "-> global 'lock'"),
        (by_value("class it:\n lock = lock", lock=LOCK), "class it -> .lock"),
        (by_value("class it:\n lock = lock", lock=LOCK)(), "3 -> class it -> .lock"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_way_to_the_lock_is_named(obj: object, path: str) -> None:
    """The path says, in words of the user's code, where the lock is."""
    assert path in path_of(obj)


def test_a_global_like_an_attribute_is_not_blamed() -> None:
    """Only what goes along with the function can be at fault."""
    source = "def it(x): return x.decoy, lock"
    found = path_of(by_value(source, decoy=threading.Lock(), lock=LOCK))
    assert found == "it -> global 'lock'"


def test_a_variable_without_value_is_passed_over() -> None:
    """A function may refer to what is assigned later."""

    def outer() -> Any:
        lock = LOCK
        inner = lambda: (later, lock)  # noqa: E731 - as users write it
        yield inner
        later = 1

    inner = next(outer())
    assert path_of(inner).endswith(" -> closure variable 'lock'")


def test_a_part_that_knows_its_owner_is_not_blamed() -> None:
    """A cycle does not loop, nor lead astray."""
    owner = Box(lock=None)
    owner.part, owner.list = Box(owner=owner), [owner]
    owner.last = owner.method
    owner.lock = LOCK
    del vars(owner)["lock"]
    owner.lock = LOCK  # the last of its attributes
    assert path_of(owner) == "item 3 -> .lock"


def test_the_first_of_several_is_named() -> None:
    """What is to blame does not change from call to call."""
    objects = [1, {"a": LOCK}, LOCK, closed(LOCK)]
    assert {path_of(objects) for _ in range(5)} == {"item 3 -> [1] -> ['a']"}


def test_one_of_very_many_is_found() -> None:
    """A long list is halved, not tried one by one."""
    objects: list[Any] = [*range(300_000), LOCK, *range(300_000)]
    assert path_of(objects, "the arguments") == "the arguments -> [300000]"


def test_a_generator_is_a_leaf() -> None:
    """Python's own words for it are good enough."""

    def numbers() -> Iterator[int]:
        yield 1

    found = culprit({"numbers": numbers()}, "the result")
    assert found.path == "the result -> ['numbers']"
    assert found.reason == "cannot pickle 'generator' object"


def test_an_object_that_refuses_is_quoted() -> None:
    """Its own words are the reason, in a line and with their type."""
    found = culprit([Refusing()], "item 3")
    assert found.path == "item 3 -> [0]"
    assert found.reason == "RuntimeError: I am not to be pickled"
    assert culprit([Mute()], "item 3").path == "item 3 -> [0]"


def nested(depth: int, inmost: object) -> object:
    for _ in range(depth):
        inmost = [inmost]
    return inmost


def test_what_is_nested_too_deeply_is_explained() -> None:
    """Pickle's recursion is not the user's, so the message says whose it is."""
    found = culprit(nested(100_000, 1), "the result")
    assert "nested too deeply" in found.reason
    assert len(found.path) < 200
    found = culprit(Bottomless.__new__(Bottomless), "the result")
    assert "calls itself" in found.reason


def test_a_long_way_is_shortened() -> None:
    """Its ends are there, and how much is not."""
    path = path_of(nested(30, LOCK), "the result")
    assert path.count(" -> ") == MOST_PRINTED
    assert path.startswith("the result -> [0] -> ")
    assert " -> (19 more) -> " in path


def test_what_can_be_pickled_after_all_says_why_it_could_not() -> None:
    """The error that is being handled is the only evidence then."""
    try:
        raise pickle.PicklingError("at that time")
    except pickle.PicklingError:
        found = culprit([1], "the result")
    assert found.path == "the result"
    assert found.reason == "PicklingError: at that time"
    assert "before" in culprit([1], "the result").reason


def test_the_error_can_be_raised_and_sent() -> None:
    """It holds words only, none of what could not be pickled."""
    found = culprit(closed(LOCK), "the function")
    assert isinstance(found, NotPicklable)
    assert "square -> closure variable 'lock'" in str(pickle.loads(pickle.dumps(found)))


#: One step: what is put around an object, and what the path then says.
WRAPS: dict[str, Callable[[Any], Any]] = {
    "[2]": lambda inner: [1, "a", inner, 2],
    "[0]": lambda inner: (inner,),
    "['key']": lambda inner: {"other": 1, "key": inner},
    ".held": lambda inner: Box(other=[1], held=inner),
    ".handle": Slotted,
    ".y": lambda inner: Point(1, inner),
    ".right": lambda inner: Pair({}, inner),
    "closure variable 'lock'": closed,
    "argument 'key'": lambda inner: functools.partial(max, key=inner),
    "self -> .held": lambda inner: Box(held=inner).method,
    "global 'lock'": lambda inner: by_value("it = lambda: lock", lock=inner),
    "['a']": lambda inner: OrderedDict(a=inner),
}


@given(st.lists(st.sampled_from(sorted(WRAPS)), max_size=8), st.data())
def test_a_poison_is_found_wherever_it_is(steps: list[str], data: Any) -> None:
    """The path is the way that the poison was packed."""
    obj: Any = data.draw(st.sampled_from([LOCK, Refusing()]), "poison")
    for step in reversed(steps):
        obj = WRAPS[step](obj)
    path = culprit([obj], "item 3").path
    if path.count(" -> ") < MOST_PRINTED - 1:
        assert path == " -> ".join(["item 3", "[0]", *steps])
    else:
        assert path.startswith("item 3 -> [0] -> " + steps[0])


HASHABLE = st.integers() | st.text() | st.sampled_from([LOCK, Ellipsis, int, Box])


@given(
    st.recursive(
        HASHABLE | st.builds(Refusing) | st.builds(Mute) | st.just(Bottomless),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(HASHABLE, inner)
            | st.sets(HASHABLE)
            | st.builds(Box, held=inner)
            | st.builds(Stateful, held=inner)
            | st.builds(Reduced, held=inner)
            | st.builds(closed, inner)
        ),
    )
)
def test_it_never_raises(obj: object) -> None:
    """Whatever it is given, picklable or not, it answers."""
    assert culprit(obj, "the result").path
