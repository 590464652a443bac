"""Our options in Dask's configuration, and the configuration that nodes get."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dask
import yaml

SECTION = "gridengine"

with (Path(__file__).parent / "gridengine.yaml").open() as _file:
    DEFAULTS: dict[str, dict[str, Any]] = yaml.safe_load(_file)
dask.config.update_defaults(DEFAULTS)


def default(key: str) -> Any:
    """Return the default of a key of ``gridengine.yaml``."""
    return DEFAULTS[SECTION][key]


def configured(key: str, given: Any = None) -> Any:
    """Return an option: as given unless None, else as configured, else its default.

    The default does not come from Dask's configuration, because programs replace that
    as a whole, for example with a copy made before this package was imported
    (`distributed.utils_test.reset_config`).
    """
    return dask.config.get(
        f"{SECTION}.{key}", override_with=given, default=default(key)
    )


def differing_config() -> dict[str, Any]:
    """Return the part of Dask's configuration that differs from Dask's defaults.

    Nodes read the defaults themselves. Keys about the client's side (schedulers,
    clusters) and values that JSON cannot represent are left out.
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
            # One value that cannot be sent must not keep back the others beside it.
            nested = before if isinstance(before, Mapping) else {}
            if inner := _difference(value, nested):
                result[key] = inner
        # `is_plain` first: comparing an array does not even give a truth value.
        elif is_plain(value) and value != before:
            result[key] = value
    return result


def is_plain(value: Any) -> bool:
    """Whether JSON carries a value to a node unchanged."""
    if isinstance(value, Mapping):
        return all(type(k) is str and is_plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)  # JSON has no infinity and no NaN
    return value is None or isinstance(value, str | int)
