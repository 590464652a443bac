"""Defaults of the options, and their values in Dask's configuration."""

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
