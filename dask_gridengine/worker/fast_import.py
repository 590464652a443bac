"""What Dask imports, and how, before anybody needs it: half of a node's start.

Both are undone, or made good, once Dask is there.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

#: Imports numpy for one function only, and does without it where there is none.
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
    """Have Dask's communication not import numpy: a quarter of what a node imports.

    It uses it to allocate what messages are read into. Here it does so once a task, or
    what a task needs, has imported numpy. Without numpy a node has no threads of a BLAS
    either, and its workers can be forked whatever ``OMP_NUM_THREADS`` says.

    Whoever else imports numpy meanwhile, say a plugin of Dask's, gets it.
    """
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
    if finder.asked:
        _lend(host_array)


def host_array(n: int) -> memoryview:
    """A buffer of `n` bytes, as Dask allocates it, by numpy if that is imported.

    Not zeroed then, and in huge pages where those are to be had; see
    ``distributed.protocol.utils.host_array``.
    """
    # Another thread may be in the midst of importing it.
    empty: Any = getattr(sys.modules.get("numpy"), "empty", None)
    if empty is None:
        return memoryview(bytearray(n))
    data: memoryview = empty((n,), dtype="u1").data
    return data


class _Absent:
    """A finder that does not find numpy for the module that can do without."""

    def __init__(self) -> None:
        self.asked = False

    def find_spec(
        self, name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "numpy" and _importing() == ALLOCATES:
            self.asked = True
            raise ModuleNotFoundError("numpy is imported later", name=name)
        return None


def _importing() -> str:
    """The module whose import statement is being executed."""
    frame: FrameType | None = sys._getframe(1)
    inner = (__name__, "importlib._bootstrap", "importlib._bootstrap_external")
    while frame is not None and frame.f_globals.get("__name__") in inner:
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__"))


def _lend(function: Any) -> None:
    """Have Dask use it, wherever it has taken up its own."""
    own = getattr(sys.modules[ALLOCATES], "host_array", None)
    for name, module in list(sys.modules.items()):
        taken = vars(module).get("host_array") if name.startswith("distributed") else 0
        if own is not None and taken is own:
            setattr(module, "host_array", function)  # noqa: B010 - not in its types
