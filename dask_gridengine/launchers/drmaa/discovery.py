"""Where a Grid Engine installation and its libdrmaa are."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dask_gridengine.errors import LauncherUnavailable

KNOWN_LIBRARIES = (
    "/usr/lib/gridengine-drmaa/lib/libdrmaa.so.1.0",  # Debian, Ubuntu
    "/usr/lib64/libdrmaa.so.1.0",  # Fedora, EPEL
    "/usr/lib64/libdrmaa.so",
    "/usr/lib/libdrmaa.so",
)
DEBIAN_ROOT = "/var/lib/gridengine"  # what Debian's qstat takes without SGE_ROOT

# Debian's libdrmaa loads a jemalloc that needs 2632 bytes of static TLS; a Python
# process has 512 to spare. glibc reads this variable only when a process starts. Each
# thread takes this size from its own stack, so a large value crashes the process.
# Measured with glibc 2.36: 4 KiB to 64 KiB open a session under stack limits from
# 128 KiB to unlimited; 2 MiB crashes below 3 MiB, and under "unlimited" (the limit in
# jobs), where the stack of a thread has 2 MiB.
TUNABLE = "glibc.rtld.optional_static_tls=65536"

INSTALL = (
    "install libdrmaa (on Debian: apt-get install gridengine-drmaa1.0), or, if it is"
    " elsewhere: export DRMAA_LIBRARY_PATH=/path/to/libdrmaa.so"
)
SETTINGS = (
    ". $SGE_ROOT/default/common/settings.sh, with your Grid Engine's directory for"
    " $SGE_ROOT, and start Python again; for another kind of grid: export"
    " DRMAA_LIBRARY_PATH=/path/to/its/libdrmaa.so"
)


def grid_is_configured(environment: Mapping[str, str]) -> bool:
    """Whether this host or its user has set a grid up, working or not."""
    return bool(find_root(environment) or environment.get("DRMAA_LIBRARY_PATH"))


def find_root(environment: Mapping[str, str]) -> str | None:
    """``SGE_ROOT``, or Debian's directory if a cell is configured there."""
    if root := environment.get("SGE_ROOT"):
        return root
    cell = environment.get("SGE_CELL", "default")
    configured = Path(DEBIAN_ROOT, cell, "common", "act_qmaster").is_file()
    return DEBIAN_ROOT if configured else None


def master_host(environment: Mapping[str, str]) -> str:
    """The host of the qmaster, as the cell's files say; empty if they do not."""
    root, cell = find_root(environment), environment.get("SGE_CELL", "default")
    with contextlib.suppress(OSError):
        return Path(root or "", cell, "common", "act_qmaster").read_text().strip()
    return ""


def find_library(environment: Mapping[str, str]) -> str:
    """The first libdrmaa there is, in the places where it may be.

    Raises
    ------
    LauncherUnavailable
        If there is none, or no Grid Engine for it; with the places and what to type.
    """
    if named := environment.get("DRMAA_LIBRARY_PATH"):
        if Path(named).is_file():
            return named
        reason = f"DRMAA_LIBRARY_PATH names {named}, which is not there"
        raise LauncherUnavailable("drmaa", reason, INSTALL)
    root = find_root(environment)
    places = [*(_root_libraries(root) if root else ()), *KNOWN_LIBRARIES]
    found: str | None = next((place for place in places if Path(place).is_file()), None)
    if not root:
        lacks = "" if found else " and no libdrmaa was found"
        raise LauncherUnavailable("drmaa", f"SGE_ROOT is not set{lacks}", SETTINGS)
    found = found or ctypes.util.find_library("drmaa")
    if found is None:
        reason = f"no libdrmaa was found; looked at {', '.join(places)}, ldconfig -p"
        raise LauncherUnavailable("drmaa", reason, INSTALL)
    return found


def _root_libraries(root: str) -> Iterator[str]:
    """Those of this architecture first; a root on a file server may hold several."""
    libraries = Path(root, "lib")
    if architecture := os.environ.get("SGE_ARCH") or _architecture(root):
        yield str(libraries / architecture / "libdrmaa.so")
        yield str(libraries / architecture / "libdrmaa.so.1.0")
    with contextlib.suppress(OSError):
        yield from sorted(map(str, libraries.glob("*/libdrmaa.so*")))


def _architecture(root: str) -> str:
    """What Grid Engine calls this kind of machine; empty if it does not say."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        script = str(Path(root, "util", "arch"))
        ran = subprocess.run([script], capture_output=True, timeout=5, text=True)
        return ran.stdout.strip()
    return ""
