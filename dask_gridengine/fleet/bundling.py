"""One file with what nodes import, see `dask_gridengine.worker.bundle`."""

from __future__ import annotations

import importlib.util
import marshal
import os
import struct
import sys
import sysconfig
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path

from dask_gridengine.worker.bundle import HEAD, Entry

#: Packages that a node imports, or that its tasks most often do: distributed, what it
#: requires, and what that requires. One that is missing here is imported as ever.
PACKAGES = frozenset({
    "click", "cloudpickle", "dask", "dask_gridengine", "distributed", "fsspec",
    "importlib_metadata", "jinja2", "locket", "markupsafe", "msgpack", "numpy",
    "packaging", "pandas", "partd", "psutil", "sortedcontainers", "tblib",
    "tlz", "toolz", "tornado", "urllib3", "yaml", "zict", "zipp", "zmq",
})  # fmt: skip
#: Before the code in a ``.pyc``: flags (0: it is known by its source's date and size),
#: and these. https://docs.python.org/3/reference/import.html#pyc-invalidation
_KNOWN_BY = struct.Struct("<III")
_PYC_HEAD = 4 + _KNOWN_BY.size


def write(path: Path) -> int:
    """Lay what this Python has imported of that into a file; how many modules.

    Only what is compiled, and as its source is now. Takes some hundredths of a second,
    nearly all of it reading: call it in a thread.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    index: dict[str, Entry] = {}
    codes: list[bytes] = []
    at = 0
    for spec in _imported():
        if code := _compiled(spec):
            assert spec.origin
            assert spec.cached
            package = spec.submodule_search_locations is not None
            index[spec.name] = (at, len(code), spec.origin, spec.cached, package)
            codes.append(code)
            at += len(code)
    head = marshal.dumps(index)
    new = path.with_name(f"{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(HEAD.pack(importlib.util.MAGIC_NUMBER, len(head)))
        file.write(head)
        file.writelines(codes)
    new.rename(path)  # a node that comes meanwhile sees all of it, or none
    return len(index)


def _imported() -> Iterator[ModuleSpec]:
    """Modules of these packages, and of Python's library, that came from files."""
    library = sysconfig.get_path("stdlib") + os.sep
    added = [sysconfig.get_path(kind) + os.sep for kind in ("purelib", "platlib")]
    for name, module in list(sys.modules.items()):
        spec = getattr(module, "__spec__", None)
        if (
            not isinstance(spec, ModuleSpec)
            or spec.name != name
            or type(spec.loader) is not SourceFileLoader
            or not spec.origin
        ):
            continue
        ours = name.partition(".")[0] in PACKAGES
        if ours or (
            spec.origin.startswith(library) and not spec.origin.startswith(tuple(added))
        ):
            yield spec


def _compiled(spec: ModuleSpec) -> bytes:
    """Its code, as it is in a ``.pyc``; b"" if there is none that is up to date."""
    assert spec.origin
    if not spec.cached:
        return b""
    try:
        data = Path(spec.cached).read_bytes()
        source = os.stat(spec.origin)
    except OSError:
        return b""
    if data[:4] != importlib.util.MAGIC_NUMBER or len(data) < _PYC_HEAD:
        return b""
    known_by = _KNOWN_BY.unpack_from(data, 4)
    mask = 0xFFFF_FFFF  # of 32 bits, as they are in the file
    if known_by != (0, int(source.st_mtime) & mask, source.st_size & mask):
        return b""
    return data[_PYC_HEAD:]
