"""How functions travel, under the old library's name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from gridengine import serializer
from tests.gridengine.conftest import RunScript


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def scaled(self, by: int) -> int:
        return self.x * by


def adder(n: int) -> Callable[[int], int]:
    return lambda x: x + n


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (lambda x: x + 1, 11),
        (adder(5), 15),
        (fibonacci, 55),
        (Point(3).scaled, 30),
        (str, "10"),
    ],
    ids=["lambda", "closure", "recursive", "method", "builtin"],
)
def test_functions_travel(function: Callable[[int], Any], result: object) -> None:
    """Also those that plain pickle refuses, with what they refer to."""
    assert serializer.loads(serializer.dumps(function))(10) == result


def test_a_closure_is_a_copy() -> None:
    """A later change of what it refers to is not seen."""
    box = [1]
    function = serializer.loads(serializer.dumps(lambda: box))
    box.append(2)
    assert function() == [1]


def test_plain_values_arrive_equal() -> None:
    """Whatever pickle takes is taken."""
    for value in (None, 1.5, "ä", [1, (2, {3})], {"a": b"b"}, len):
        assert serializer.loads(serializer.dumps(value)) == value


def test_the_names_are_those_of_the_old_library() -> None:
    """`dumps`, `loads` and the protocol, which can be asked for in both ways."""
    assert set(serializer.__all__) == {"dumps", "loads", "HIGHEST_PROTOCOL"}
    assert serializer.HIGHEST_PROTOCOL == pickle.HIGHEST_PROTOCOL
    for pickled in (
        serializer.dumps([1], serializer.HIGHEST_PROTOCOL),
        serializer.dumps([1], protocol=serializer.HIGHEST_PROTOCOL),
    ):
        assert serializer.loads(pickled) == [1]


def test_definitions_of_main_open_elsewhere(run_script: RunScript) -> None:
    """A script's function and class need not be importable where they are used."""
    ran = run_script(
        "from gridengine import serializer\n"
        "OFFSET = 7\n"
        "class Adder:\n"
        "    def __init__(self, x):\n"
        "        self.x = x\n"
        "    def __call__(self, y):\n"
        "        return self.x + y + OFFSET\n"
        "def add(x, y):\n"
        "    return Adder(x)(y)\n"
        "if __name__ == '__main__':\n"
        "    print(serializer.dumps((add, Adder(100))).hex())\n"
    )
    add, adder = serializer.loads(bytes.fromhex(ran.stdout))
    assert add(1, 2) == 10
    assert adder(1) == 108
