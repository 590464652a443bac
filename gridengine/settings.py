"""The old library's settings, which now come from Dask's configuration.

A script may still assign to them: that holds for schedulers made afterwards. All others
are in the configuration under ``gridengine:``; ``map.yaml`` beside this file and
dask_gridengine's ``gridengine.yaml`` explain them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import dask
import yaml

from dask_gridengine.dask_config import configured

with (Path(__file__).parent / "map.yaml").open() as _file:
    _MAP: dict[str, Any] = yaml.safe_load(_file)
dask.config.update_defaults(_MAP)

#: Directory of this package.
path = os.path.dirname(os.path.abspath(__file__))
#: The module search path; nodes have their own.
PYTHONPATH = ":".join(sys.path)
#: The old library's shell script; a node needs none.
WRAPPER = None


def _temp_directory() -> str:
    where = str(configured("shared-directory"))
    return os.path.expanduser(os.path.expandvars(where))


def _default_resources() -> dict[str, str]:
    requests = configured("resource-spec") or ""
    pairs = (request.strip().partition("=") for request in requests.split(","))
    return {name: value or "true" for name, _, value in pairs if name}


def of_map(key: str) -> Any:
    """Return a setting of ``map.yaml``, or its default if Dask's config lacks it."""
    return dask.config.get(
        f"gridengine.map.{key}", default=_MAP["gridengine"]["map"][key]
    )


def assigned_directory() -> str | None:
    """TEMPDIR if a script has assigned to it; None leaves it to the configuration."""
    return None if _configured == TEMPDIR else TEMPDIR


#: Where clusters keep their files, seen by the nodes too.
TEMPDIR = _configured = _temp_directory()
#: Complexes requested of every node, as with ``qsub -l``.
DEFAULT_RESOURCES = _default_resources()
