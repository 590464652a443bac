"""Import Dask faster: what is left out here is half of a node's start."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

#: Imports numpy for one function only, and works without it.
ALLOCATES = "distributed.protocol.utils"


@contextlib.contextmanager
def yaml_in_c() -> Iterator[None]:
    """Have Dask read its defaults by libyaml: a tenth of the time, 9 % of a start."""
    import yaml

    in_python = yaml.SafeLoader
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", in_python)  # type: ignore[misc]
    try:
        yield
    finally:
        yaml.SafeLoader = in_python  # type: ignore[misc]


@contextlib.contextmanager
def import_dask_without_numpy() -> Iterator[None]:
    """Import Dask without numpy, which is a quarter of what a node imports.

    Dask allocates with it the buffers that it reads messages into. Here it does so once
    a task, or what a task needs, has imported numpy. Without numpy a node has no BLAS
    threads either, so its workers can be forked whatever ``OMP_NUM_THREADS`` is.

    Other importers of numpy, such as a plugin of Dask's, get it.
    """
    finder = _NumpyHider()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
    if finder.used:
        _replace_host_array(host_array)


def host_array(n: int) -> memoryview:
    """Allocate `n` bytes as Dask does, with numpy if that has been imported.

    Numpy does not zero them, and uses huge pages if there are any; see
    ``distributed.protocol.utils.host_array``.
    """
    # Another thread may be importing it just now.
    empty: Any = getattr(sys.modules.get("numpy"), "empty", None)
    if empty is None:
        return memoryview(bytearray(n))
    data: memoryview = empty((n,), dtype="u1").data
    return data


class _NumpyHider:
    """A finder that hides numpy from the module that works without it."""

    def __init__(self) -> None:
        self.used = False

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "numpy" and _importing_module() == ALLOCATES:
            self.used = True
            raise ModuleNotFoundError("numpy is imported later", name=name)
        return None


def _importing_module() -> str:
    """Return the module whose import statement is being executed."""
    frame: FrameType | None = sys._getframe(1)
    inner = (__name__, "importlib._bootstrap", "importlib._bootstrap_external")
    while frame is not None and frame.f_globals.get("__name__") in inner:
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__"))


def _replace_host_array(function: Any) -> None:
    """Replace Dask's function in every module of Dask that has imported it."""
    dasks = getattr(sys.modules[ALLOCATES], "host_array", None)
    for name, module in list(sys.modules.items()):
        known = name.startswith("distributed") and vars(module).get("host_array")
        if known and known is dasks:
            setattr(module, "host_array", function)  # noqa: B010 - not in its types
