"""Find the batch systems that are set up here, and their libdrmaa."""

from __future__ import annotations

import contextlib
import ctypes.util
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from dask_gridengine.batch import OVERRIDE, batch_system
from dask_gridengine.batch.base import BatchSystem
from dask_gridengine.errors import LauncherUnavailable

KNOWN_LIBRARIES = (
    "/usr/lib/gridengine-drmaa/lib/libdrmaa.so.1.0",  # Debian, Ubuntu
    "/usr/lib64/libdrmaa.so.1.0",  # Fedora, EPEL
    "/usr/lib64/libdrmaa.so",
    "/usr/lib/libdrmaa.so",
)
DEBIAN_ROOT = "/var/lib/gridengine"  # Debian's qstat uses it without SGE_ROOT

# Debian's libdrmaa loads a jemalloc that needs 2632 bytes of static TLS; a Python
# process has 512 left. glibc reads this variable only when a process starts. Each
# thread takes this size from its own stack, so a large value crashes the process.
# Measured with glibc 2.36: 4 KiB to 64 KiB open a session under stack limits from
# 128 KiB to unlimited; 2 MiB crashes below 3 MiB, and under "unlimited" (the limit in
# jobs), where the stack of a thread has 2 MiB.
STATIC_TLS_TUNABLE = "glibc.rtld.optional_static_tls=65536"

INSTALL_LIBRARY = (
    "install libdrmaa (on Debian: apt-get install gridengine-drmaa1.0), or if it is"
    " installed elsewhere: export DRMAA_LIBRARY_PATH=/path/to/libdrmaa.so"
)
SETTINGS = (
    ". $SGE_ROOT/default/common/settings.sh, with your Grid Engine's directory for"
    " $SGE_ROOT, and start Python again; for another kind of grid: export"
    " DRMAA_LIBRARY_PATH=/path/to/its/libdrmaa.so"
)


def configured_systems(environment: Mapping[str, str]) -> list[BatchSystem]:
    """Return the batch systems that are set up on this host, the likeliest first.

    One that the user names does not hide the others: their commands may list its jobs.
    """
    named = environment.get(OVERRIDE)
    found = [
        *([named] if named else []),
        *(["gridengine"] if find_root(environment) else []),
        *(["slurm"] if shutil.which("squeue", path=environment.get("PATH")) else []),
    ]
    if not found and environment.get("DRMAA_LIBRARY_PATH"):
        found = ["plain"]
    return [batch_system(name) for name in dict.fromkeys(found)]


def find_root(environment: Mapping[str, str]) -> str | None:
    """Return ``SGE_ROOT``, or Debian's directory if it has a configured cell."""
    if root := environment.get("SGE_ROOT"):
        return root
    cell = environment.get("SGE_CELL", "default")
    configured = Path(DEBIAN_ROOT, cell, "common", "act_qmaster").is_file()
    return DEBIAN_ROOT if configured else None


def master_host(environment: Mapping[str, str]) -> str:
    """Return the qmaster's host from the cell's files, or ""."""
    root, cell = find_root(environment), environment.get("SGE_CELL", "default")
    with contextlib.suppress(OSError):
        return Path(root or "", cell, "common", "act_qmaster").read_text().strip()
    return ""


def find_library(environment: Mapping[str, str]) -> str:
    """Return the path of libdrmaa.

    Raises `LauncherUnavailable` if there is none, or no Grid Engine to go with it, with
    the paths that were tried.
    """
    if named := environment.get("DRMAA_LIBRARY_PATH"):
        if Path(named).is_file():
            return named
        reason = f"DRMAA_LIBRARY_PATH={named} does not exist"
        raise LauncherUnavailable("drmaa", reason, INSTALL_LIBRARY)
    root = find_root(environment)
    paths = [*(_root_libraries(root) if root else ()), *KNOWN_LIBRARIES]
    found: str | None = next((path for path in paths if Path(path).is_file()), None)
    if not root:
        for system in configured_systems(environment):
            if hint := system.if_no_library:
                reason = f"{system.title} is set up here, but DRMAA_LIBRARY_PATH is not"
                raise LauncherUnavailable("drmaa", reason, hint)
        reason = "SGE_ROOT is not set" + ("" if found else " and there is no libdrmaa")
        raise LauncherUnavailable("drmaa", reason, SETTINGS)
    found = found or ctypes.util.find_library("drmaa")
    if found is None:
        reason = f"found no libdrmaa; tried {', '.join(paths)}, ldconfig -p"
        raise LauncherUnavailable("drmaa", reason, INSTALL_LIBRARY)
    return found


def _root_libraries(root: str) -> Iterator[str]:
    """Yield paths under a root, which may have several architectures, ours first."""
    libraries = Path(root, "lib")
    if architecture := os.environ.get("SGE_ARCH") or _architecture(root):
        yield str(libraries / architecture / "libdrmaa.so")
        yield str(libraries / architecture / "libdrmaa.so.1.0")
    with contextlib.suppress(OSError):
        yield from sorted(map(str, libraries.glob("*/libdrmaa.so*")))


def _architecture(root: str) -> str:
    """Return Grid Engine's name of this architecture, or ""."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        script = str(Path(root, "util", "arch"))
        run = subprocess.run([script], capture_output=True, timeout=5, text=True)
        return run.stdout.strip()
    return ""
