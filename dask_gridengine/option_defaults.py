"""The default of each setting, and its value in Dask's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import yaml

SECTION = "gridengine"

with (Path(__file__).parent / "gridengine.yaml").open() as _file:
    DEFAULTS: dict[str, dict[str, Any]] = yaml.safe_load(_file)
dask.config.update_defaults(DEFAULTS)


def default(key: str) -> Any:
    """Return what a setting is where nobody has set it."""
    return DEFAULTS[SECTION][key]


def configured(key: str, given: Any = None) -> Any:
    """Return a setting: as given, else as configured, else its default.

    The default does not come from Dask's configuration. Programs replace that as a
    whole, for example with a copy made before this package was imported, as
    `distributed.utils_test.reset_config` does.

    Parameters
    ----------
    key
        As in ``gridengine.yaml``.
    given
        None counts as not given.
    """
    return dask.config.get(
        f"{SECTION}.{key}", override_with=given, default=default(key)
    )
