"""Tests of Dask's own, run against `GridEngineCluster` in place of `LocalCluster`.

They are taken from the source of distributed, and none of them is copied: packages of
distributed leave them out, so a checkout is named in DISTRIBUTED_SOURCE.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import distributed
import pytest
from dask.system import CPU_COUNT
from distributed import utils_test
from distributed.metrics import time

from dask_gridengine import GridEngineCluster
from dask_gridengine.cluster.adaptive import GridAdaptive

if TYPE_CHECKING:
    from typing_extensions import Self

VARIABLE = "DISTRIBUTED_SOURCE"
#: These tests are written for workers that are threads, and ours are processes on a
#: machine that may be busy: so much longer are the deadlines in them,
SLOWER = 60
#: so many seconds each may take,
LONGEST = 100
#: so long is an idle worker kept (they wait for 0.1 s),
IDLE_GRACE = 1.0
#: and so many workers adaptive scaling has at most, where a test does not say.
MOST = 4


class LocalCluster(GridEngineCluster):
    """A cluster on local processes that takes what `LocalCluster` does."""

    shared_directory: Path  # set by a fixture

    def __init__(
        self,
        *,
        n_workers: int | None = None,
        threads_per_worker: int | None = None,
        processes: bool | None = None,
        dashboard_address: str = ":0",
        silence_logs: int | bool = logging.WARN,
        memory_limit: str | int | None = None,
        **options: Any,
    ) -> None:
        threads = threads_per_worker or max(1, CPU_COUNT // (n_workers or 1))
        given: dict[str, Any] = {
            "n_workers": 2 if n_workers is None else n_workers,
            "cores": threads,
            "slots": 20 * threads,  # no worker of these tests is meant to queue
            "memory": memory_limit,
            "nanny": processes is not False,
            "silence_logs": silence_logs,
            "scheduler_options": {
                "dashboard": False,
                "dashboard_address": dashboard_address,
            },
            "security": False,
            "quiet": True,
            "launcher": "process",
            "shared_directory": self.shared_directory,
        }
        super().__init__(**{**given, **options})
        self._first = given["n_workers"]

    async def __aenter__(self) -> Self:
        """As `LocalCluster`, which is there when its workers are."""
        await super().__aenter__()
        await self._wait_for_workers(self._first)
        return self

    def adapt(self, Adaptive: Any = GridAdaptive, **options: Any) -> Any:
        if Adaptive is GridAdaptive:
            options.setdefault("idle_grace", IDLE_GRACE)
        if not any(name.startswith("maximum") for name in options):
            options["maximum"] = MOST
        return super().adapt(Adaptive, **options)


def from_dask(
    path: str,
    *,
    only: Mapping[str, str] | None = None,
    long: Collection[str] = (),
) -> dict[str, Any]:
    """The tests of one of distributed's files, by name; skips if it is not there.

    Parameters
    ----------
    path
        Of the file, within the source.
    only
        Names to take, with the reason for each; all by default.
    long
        Names of tests that take long.
    """
    module = _load(path)
    names = {name for name in vars(module) if name.startswith("test_")}
    for name in {*(only or ()), *long}:
        assert name in names, f"{path} has no {name} any more: take it out of the list"
    if only is not None:
        names &= only.keys()
    found: dict[str, Any] = {}
    for name in sorted(names):
        test = getattr(module, name)
        found[name] = pytest.mark.long(test) if name in long else test
    return found


def _load(path: str) -> ModuleType:
    file = _file(path)
    name = f"tests.contract.of_dask.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with pytest.MonkeyPatch.context() as patch:
        longer = functools.partial(utils_test.gen_test, timeout=LONGEST)
        patch.setattr(utils_test, "gen_test", longer)
        spec.loader.exec_module(module)
    module.LocalCluster = LocalCluster
    module.time = lambda: time() / SLOWER
    return module


def _file(path: str) -> Path:
    source = os.environ.get(VARIABLE)
    places = [Path(source)] if source else [Path(distributed.__file__).parents[1]]
    for place in places:
        if (file := place / path).is_file():
            return file
    version = distributed.__version__
    pytest.skip(
        f"no {path} in {places[0]}: {VARIABLE} must name a checkout, made with"
        f" git clone --depth 1 --branch {version} https://github.com/dask/distributed",
        allow_module_level=True,
    )
