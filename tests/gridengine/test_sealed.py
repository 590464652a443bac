"""Values on their way: what is copied, what is refused, and what comes out."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from dask.sizeof import sizeof
from distributed.protocol import dumps, loads, to_serialize
from hypothesis import given, settings
from hypothesis import strategies as st

from gridengine.errors import NotPicklable
from gridengine.sealed import BUFFER_BYTES, Sealed

BIG = 2 * BUFFER_BYTES  # bytes
#: The most that Dask sends in one frame, in bytes.
FRAME_BYTES = 64 * 2**20


def big(nbytes: int = BIG) -> np.ndarray:
    return np.arange(nbytes // 8, dtype=np.int64)


def by_pickle(protocol: int) -> Callable[[Sealed], Sealed]:
    def send(sealed: Sealed) -> Sealed:
        copy: Sealed = pickle.loads(pickle.dumps(sealed, protocol))
        return copy

    return send


def by_dask(sealed: Sealed) -> Sealed:
    """As a message of Dask's, whose frames arrive as bytes nobody may write to."""
    frames = dumps({"op": "test", "sealed": to_serialize(sealed)})
    copy: Sealed = loads([bytes(frame) for frame in frames])["sealed"]
    return copy


#: From process to process; without any the value is opened where it was sealed.
WAYS = {
    "none": lambda sealed: sealed,
    "protocol 4": by_pickle(4),
    "protocol 5": by_pickle(5),
    "dask": by_dask,
}


class Counted:
    """Knows how often it was unpickled."""

    times = 0

    def __setstate__(self, state: object) -> None:
        type(self).times += 1

    def __getstate__(self) -> object:
        return "state"


class Unrebuildable:
    """Can be pickled, but not be unpickled."""

    def __reduce__(self) -> Any:
        return int, ("seventeen",)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(value=values, way=st.sampled_from([by_pickle(4), by_pickle(5), by_dask]))
@settings(max_examples=50, deadline=None)
def test_what_comes_out_is_what_went_in(
    value: object, way: Callable[[Sealed], Sealed]
) -> None:
    """Any plain value arrives equal and of the same type, on each way."""
    found = way(Sealed.of(value, "it")).open()
    assert found == value
    assert type(found) is type(value)


def test_big_buffers_are_not_copied() -> None:
    """A frame is the array's own memory, and so is the array that comes out here."""
    array = big()
    sealed = Sealed.of({"a": [array]}, "it")
    pickled, frame = sealed.frames
    assert len(pickled) < 1000
    assert np.shares_memory(array, np.frombuffer(frame, np.int64))
    assert np.shares_memory(array, sealed.open()["a"][0])


def test_small_buffers_travel_in_the_pickle() -> None:
    """A frame of its own is only for what has BUFFER_BYTES or more."""
    small, least = big(BUFFER_BYTES - 8), big(BUFFER_BYTES)
    assert len(Sealed.of([small] * 3, "it").frames) == 1
    assert len(Sealed.of([small, least], "it").frames) == 2


def test_an_array_that_occurs_twice_travels_once() -> None:
    """Two references to one array are still one array when they come out."""
    array = big()
    sealed = by_dask(Sealed.of([array, array], "it"))
    assert sealed.nbytes < 1.5 * array.nbytes
    first, second = sealed.open()
    assert first is second


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(big(), id="plain"),
        pytest.param(big().reshape(64, -1), id="2-d"),
        pytest.param(np.asfortranarray(big().reshape(64, -1)), id="fortran"),
        pytest.param(big(2 * BIG)[::2], id="every second"),
        pytest.param(big()[::-1], id="backwards"),
        pytest.param(big(2 * BIG).reshape(64, -1)[:, 1::2], id="columns"),
        pytest.param(big().reshape(64, -1).T, id="transposed"),
        pytest.param(np.broadcast_to(np.int64(3), (BIG,)), id="broadcast"),
        pytest.param(np.array([["a", None], [1.5, (1,)]], dtype=object), id="object"),
        pytest.param(np.zeros((0, 5)), id="empty"),
        pytest.param(np.zeros(BIG, "i1,f4"), id="records"),
    ],
)
def test_arrays_of_any_layout(array: np.ndarray) -> None:
    """Values, shape, type and the order in memory of a whole array arrive."""
    for way in WAYS.values():
        found = way(Sealed.of(array, "it")).open()
        np.testing.assert_array_equal(found, array, strict=True)
        if array.flags.forc:
            assert found.flags.f_contiguous == array.flags.f_contiguous


@pytest.mark.parametrize("nbytes", [64, BIG])
@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("way", [by_pickle(5), by_dask])
def test_an_array_that_was_writable_still_is(
    way: Callable[[Sealed], Sealed], writable: bool, nbytes: int
) -> None:
    """A function may change its argument; what was protected remains so if big."""
    array = big(nbytes)
    array.flags.writeable = writable
    found = way(Sealed.of(array, "it")).open()
    if writable:
        found[0] = 17
        assert array[0] == 0, "the original was changed"
    elif nbytes >= BUFFER_BYTES:
        assert not found.flags.writeable


def test_more_than_a_frame_goes_through_dask() -> None:
    """Dask cuts 100 MB into frames; they are put together again, and writable."""
    array = np.arange(100 * 10**6 // 8)
    sealed = Sealed.of({"array": array, "small": [1, 2]}, "it")
    frames = dumps({"op": "test", "sealed": to_serialize(sealed)})
    sizes = [memoryview(frame).nbytes for frame in frames]
    assert max(sizes) <= FRAME_BYTES
    assert sum(sizes) - array.nbytes < 10_000, "something travels twice"
    found = loads([bytearray(frame) for frame in frames])["sealed"].open()
    assert found["small"] == [1, 2]
    np.testing.assert_array_equal(found["array"], array)
    assert found["array"].flags.writeable


def test_dask_takes_the_frames_as_they_are() -> None:
    """By pickle's protocol 5 the buffers go along without a copy, out and in."""
    array = big()
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(Sealed.of(array, "it"), 5, buffer_callback=buffers.append)
    assert len(pickled) < 1000
    sealed = pickle.loads(pickled, buffers=buffers)
    assert np.shares_memory(sealed.open(), array)


def test_size_is_what_it_holds() -> None:
    """Dask's measure of memory sees the buffers, on either side of the way."""
    sealed = Sealed.of([big(), "text"], "it")
    for there in (sealed, by_dask(sealed)):
        assert BIG < there.nbytes < BIG + 1000
        assert there.nbytes <= sizeof(there) < there.nbytes + 1000


def test_opened_again_it_is_a_new_value() -> None:
    """`open` makes the value each time, `open_once` only the first time."""
    sealed = Sealed.of([Counted()], "it")
    Counted.times = 0
    assert sealed.open() is not sealed.open()
    assert Counted.times == 2
    assert sealed.open_once() is sealed.open_once()
    assert Counted.times == 3


@pytest.mark.parametrize("way", ["protocol 4", "protocol 5", "dask"])
def test_what_was_opened_does_not_travel(way: str) -> None:
    """A worker that passes a Sealed on passes on what it was given."""
    sealed = Sealed.of([1, 2], "it")
    sealed.open_once().append(3)
    copy = WAYS[way](sealed)
    assert copy.open_once() == [1, 2]
    assert copy.what == "it"


def test_none_is_a_value() -> None:
    """None is opened once and remembered as any other value."""
    assert Sealed.of(None, "it").open_once() is None


def test_lambdas_and_closures_travel() -> None:
    """What plain pickle refuses goes by value; its big arrays are still not copied."""
    array = big()
    sealed = Sealed.of([array, lambda x: x + len(array)], "it")
    assert len(sealed.frames) == 2, "a first attempt has left its buffers"
    found, add = by_dask(sealed).open()
    np.testing.assert_array_equal(found, array)
    assert add(1) == 1 + len(array)


def test_a_function_of_a_module_travels_by_its_name() -> None:
    """Code that both sides have is not sent."""
    sealed = Sealed.of(big, "it")
    assert sealed.open() is big
    assert sealed.nbytes < 100


def test_modules_that_are_registered_travel_by_value() -> None:
    """cloudpickle's register_pickle_by_value holds here too."""
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    try:
        sealed = Sealed.of([big, big()], "it")
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    function, array = sealed.open()
    assert function is not big
    np.testing.assert_array_equal(function(), array)
    assert len(sealed.frames) == 2


def test_what_is_in_main_travels_by_value(tmp_path: Path) -> None:
    """A script's functions, classes and their instances open where it is not run."""
    script = tmp_path / "script.py"
    script.write_text(
        "import pickle, sys\n"
        "from dataclasses import dataclass\n"
        "from gridengine.sealed import Sealed\n"
        "FACTOR = 3\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "    def scaled(self):\n"
        "        return self.x * FACTOR\n"
        "def scale(x):\n"
        "    return Point(x).scaled()\n"
        "sealed = Sealed.of([scale, Point, Point(5)], 'it')\n"
        "sys.stdout.buffer.write(pickle.dumps(sealed))\n"
    )
    said = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    scale, point, five = pickle.loads(said.stdout).open()
    assert scale(2) == 6
    assert point(4).scaled() == 12
    assert (type(five), five.x, five.scaled()) == (point, 5, 15)


def test_the_word_main_is_no_trouble() -> None:
    """Data that happens to hold the word travels as any other."""
    value = ["__main__", b"__main__", {"__main__": 1}]
    assert by_dask(Sealed.of(value, "it")).open() == value


def test_the_part_to_blame_is_named() -> None:
    """Who cannot send a list with a lock in it is told where the lock is."""
    with pytest.raises(NotPicklable) as caught:
        Sealed.of([big(), {"lock": threading.Lock()}], "item 17")
    error = caught.value
    assert error.what == "item 17"
    assert error.path.endswith("[1] -> ['lock']")
    assert "cannot pickle" in error.reason
    assert isinstance(error.__cause__, TypeError)


def test_what_cannot_be_rebuilt_is_named_too() -> None:
    """It travels; the error is raised where it is opened, each time, and says what."""
    sealed = by_dask(Sealed.of([Unrebuildable()], "the function"))
    for opened in (sealed.open, sealed.open, sealed.open_once, sealed.open_once):
        with pytest.raises(NotPicklable, match=r"the function.*rebuilt") as caught:
            opened()
        assert "seventeen" in caught.value.reason
