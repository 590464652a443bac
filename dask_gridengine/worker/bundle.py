"""Modules from one file: what the cluster's Python has imported, for its nodes.

An import asks the file system several times for each module, a node some thousand
times until it is a worker, and a file server is asked so by all nodes at once. The
cluster lays the compiled modules of Dask, of what that needs and of Python's own
library into one file beside the connection file; see `dask_gridengine.fleet.bundling`.

Where a package would come from is still asked of Python: only if that is the very file
that the cluster has imported, by path, date and size, is what belongs to it taken from
the bundle. In a container another version may lie at the same place.
"""

from __future__ import annotations

import contextlib
import importlib.util
import marshal
import os
import struct
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

#: Of which Python it is, and how many bytes the index has, which follows.
HEAD = struct.Struct("<4sQ")

#: Where its code is in the file, how long that is, the paths of source and bytecode,
#: date and size of the source, and whether it is a package.
Entry = tuple[int, int, str, str, tuple[int, int], bool]


def stamp_of(source: str) -> tuple[int, int] | None:
    """Date and size of a file, as Python puts them into a ``.pyc``; None without it."""
    try:
        stat = os.stat(source)
    except OSError:
        return None
    mask = 0xFFFF_FFFF  # of 32 bits, as they are in the file
    return int(stat.st_mtime) & mask, stat.st_size & mask


def use(path: Path) -> Bundle | None:
    """Have imports take modules from a bundle; None if it is not there, or not ours."""
    try:
        bundle = Bundle(path)
    except (OSError, ValueError, EOFError, TypeError):
        return None
    # Before whoever looks on the path, and behind those who are asked before that.
    finders: list[Any] = sys.meta_path
    finders.insert(finders.index(PathFinder), bundle)
    os.register_at_fork(after_in_child=bundle.close)
    return bundle


class Bundle:
    """A finder, for ``sys.meta_path``.

    Parameters
    ----------
    path
        Of the file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError, EOFError, TypeError
        If it is no bundle, or another Python's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._same: dict[str, bool] = {}  # packages, whether they are the cluster's
        try:
            magic, length = HEAD.unpack(self._read(0, HEAD.size))
            if magic != importlib.util.MAGIC_NUMBER:
                raise ValueError("of another Python")
            self._start = HEAD.size + length
            self._index: dict[str, Entry] = marshal.loads(self._read(HEAD.size, length))
        except BaseException:
            self.close()
            raise

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """As finders have it."""
        entry = self._index.get(name)
        if entry is None:
            return None
        _, _, origin, cached, stamp, package = entry
        if path is None:
            found = PathFinder.find_spec(name)
            same = found is not None and found.origin == origin
            self._same[name] = same and stamp_of(origin) == stamp
            if not self._same[name]:
                return found
        elif not self._same.get(name.partition(".")[0]):
            return None
        loader = _Loader(name, origin, self)
        spec = ModuleSpec(name, loader, origin=origin, is_package=package)
        spec.has_location, spec.cached = True, cached
        if package:
            spec.submodule_search_locations = [os.path.dirname(origin)]
        return spec

    def code(self, name: str) -> CodeType | None:
        """A module's; None if it cannot be read any more: the cluster has closed."""
        at, length = self._index[name][:2]
        try:
            code: CodeType = marshal.loads(self._read(self._start + at, length))
        except (OSError, ValueError, EOFError, TypeError):
            return None
        return code

    def close(self) -> None:
        """Let go of the file; it is opened again when it is needed. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                os.close(file)

    def _read(self, at: int, length: int) -> bytes:
        # Not by mmap: whoever touches a page that a file server has lost is killed.
        if self._file is None:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        data = os.pread(self._file, length, at)
        if len(data) != length:
            raise EOFError(f"{self._path} ends early")
        return data


class _Loader(SourceFileLoader):
    """Python's own, but for where the code is."""

    def __init__(self, name: str, origin: str, bundle: Bundle) -> None:
        super().__init__(name, origin)
        self._bundle = bundle

    def get_code(self, fullname: str) -> CodeType | None:
        return self._bundle.code(fullname) or super().get_code(fullname)
