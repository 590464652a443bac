"""How functions travel, under the old library's name."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

from gridengine import serializer


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def scaled(self, by: int) -> int:
        return self.x * by


def adder(n: int) -> Any:
    def add(x: int) -> int:
        return x + n

    return add


def fibonacci(n: int) -> int:
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def arrived(value: object) -> Any:
    return serializer.loads(serializer.dumps(value))


def test_lambdas_travel() -> None:
    """A function without a name can be called at the other end."""
    assert arrived(lambda x: x + 1)(1) == 2


def test_closures_travel_with_what_they_refer_to() -> None:
    """What a function was made with goes along, and not its later value."""
    box = [1]
    function = arrived(lambda: box)
    box.append(2)
    assert function() == [1]
    assert arrived(adder(5))(1) == 6


def test_recursive_functions_travel() -> None:
    """A function that calls itself does so at the other end too."""
    assert arrived(fibonacci)(10) == 55
    local = [lambda n: n if n < 2 else local[0](n - 1) + local[0](n - 2)]
    assert arrived(local[0])(10) == 55


def test_bound_methods_travel() -> None:
    """With their object."""
    assert arrived(Point(3).scaled)(4) == 12


def test_plain_values_arrive_equal() -> None:
    """Whatever pickle takes is taken."""
    for value in (None, 1.5, "ä", [1, (2, {3})], {"a": b"b"}, len):
        assert arrived(value) == value


def test_the_highest_protocol_can_be_asked_for() -> None:
    """As the old library's callers did, by position or by name."""
    for pickled in (
        serializer.dumps([1], serializer.HIGHEST_PROTOCOL),
        serializer.dumps([1], protocol=serializer.HIGHEST_PROTOCOL),
    ):
        assert serializer.loads(pickled) == [1]
    assert serializer.HIGHEST_PROTOCOL == pickle.HIGHEST_PROTOCOL


def test_what_main_defines_opens_elsewhere(tmp_path: Path) -> None:
    """A script's function and class need not be importable where they are used."""
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
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
        "    sys.stdout.buffer.write(serializer.dumps((add, Adder(100))))\n"
    )
    said = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        check=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    add, adder = serializer.loads(said.stdout)
    assert add(1, 2) == 10
    assert adder(1) == 108


def test_all_is_what_the_old_library_had() -> None:
    """`dumps`, `loads` and the protocol, no less."""
    assert set(serializer.__all__) == {"dumps", "loads", "HIGHEST_PROTOCOL"}
