"""What the workers run. All contenders import it; it imports nothing."""

from __future__ import annotations

import time
from typing import Any


def square(x: int) -> int:
    return x * x


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def total(array: Any) -> float:
    return float(array.sum())


def thinned(array: Any) -> Any:
    """A quarter of an array."""
    return array[::4].copy()
