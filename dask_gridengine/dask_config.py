"""What the nodes must know of Dask's config: what differs from Dask's own defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import dask


def differing_config() -> dict[str, Any]:
    """The part of Dask's config that is not Dask's default, for the nodes.

    They read the defaults themselves. What describes this side (schedulers, clusters)
    or has no form in JSON stays here.
    """
    defaults = dask.config.merge(*dask.config.defaults)
    ours = {
        key: value
        for key, value in dask.config.config.items()
        if key not in ("gridengine", "scheduler", "scheduler-address", "shuffle")
    }
    return _difference(ours, defaults)


def _difference(new: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in new.items():
        before = old.get(key)
        if type(key) is not str:
            continue
        if isinstance(value, Mapping):
            # One odd value must not keep its neighbours here.
            if inner := _difference(
                value, before if isinstance(before, Mapping) else {}
            ):
                result[key] = inner
        # Comparing what is not plain, an array say, may not even give a truth value.
        elif is_plain(value) and value != before:
            result[key] = value
    return result


def is_plain(value: Any) -> bool:
    """Whether JSON carries a value to a node as it is."""
    if isinstance(value, Mapping):
        return all(type(k) is str and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)  # JSON has no other
    return value is None or isinstance(value, str | int)
