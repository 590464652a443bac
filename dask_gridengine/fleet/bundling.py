"""One file with what nodes import, see `dask_gridengine.worker.bundle`."""

from __future__ import annotations

import importlib.util
import marshal
import os
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

from dask_gridengine.launchers.spawn import program
from dask_gridengine.worker.bundle import HEAD, Entry, stamp_of

#: Its name, the paths of source and bytecode, and whether it is a package.
Module = tuple[str, str, str, bool]

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


class Bundling:
    """A process that lays what this Python has imported of that into a file.

    Only what is compiled, and as its source is now. It takes 0.1 s, and longer where a
    file server is slow: not in a thread, which would fight for the interpreter at each
    of two thousand reads, just while the scheduler starts.

    Parameters
    ----------
    path
        Of the file; it is there when the process has ended, and never in part.

    Raises
    ------
    OSError
        If it cannot be started.
    """

    def __init__(self, path: Path) -> None:
        with tempfile.TemporaryFile() as listed:
            marshal.dump(_imported(), listed)
            listed.seek(0)
            self._process = subprocess.Popen(
                [*program(__name__), str(path)],
                stdin=listed,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C in the notebook is not for it
            )

    def finish(self) -> str:
        """Wait for it, in a thread; what was wrong, or ""."""
        _, said = self._process.communicate()
        status = self._process.returncode
        bare = f"it ended with status {status}" if status > 0 else ""
        return said.decode(errors="replace").strip() or bare

    def end(self) -> None:
        """Nobody needs it any more. Idempotent."""
        self._process.kill()


def main() -> None:
    """Of that process."""
    write(Path(sys.argv[1]), marshal.load(sys.stdin.buffer))


def write(path: Path, modules: Sequence[Module]) -> None:
    """Lay these into a file, but for those that are not compiled.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    index: dict[str, Entry] = {}
    codes: list[bytes] = []
    at = 0
    for name, origin, cached, package in modules:
        stamp = stamp_of(origin)
        if stamp and (code := _compiled(cached, stamp)):
            index[name] = (at, len(code), origin, cached, stamp, package)
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


def _imported() -> list[Module]:
    """Modules of these packages, and of Python's library, that came from files."""
    library = sysconfig.get_path("stdlib") + os.sep
    added = tuple(sysconfig.get_path(kind) + os.sep for kind in ("purelib", "platlib"))
    found: list[Module] = []
    for name, module in list(sys.modules.items()):
        # Some put other things in a module's place, which answer to any name.
        spec = vars(module).get("__spec__") if isinstance(module, ModuleType) else None
        if (
            not isinstance(spec, ModuleSpec)
            or spec.name != name
            or type(spec.loader) is not SourceFileLoader
            or not spec.origin
            or not spec.cached
        ):
            continue
        python = spec.origin.startswith(library) and not spec.origin.startswith(added)
        if python or name.partition(".")[0] in PACKAGES:
            package = spec.submodule_search_locations is not None
            found.append((name, spec.origin, spec.cached, package))
    return found


def _compiled(cached: str, stamp: tuple[int, int]) -> bytes:
    """The code in a ``.pyc``; b"" if that is not of the source of this stamp."""
    try:
        data = Path(cached).read_bytes()
    except OSError:
        return b""
    if data[:4] != importlib.util.MAGIC_NUMBER or len(data) < _PYC_HEAD:
        return b""
    if _KNOWN_BY.unpack_from(data, 4) != (0, *stamp):
        return b""
    return data[_PYC_HEAD:]
