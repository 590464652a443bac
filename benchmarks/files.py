"""Count the file system calls of a start: on a grid, a file server gets all at once.

    apt-get install strace
    python benchmarks/files.py

Counts the system calls that take a path, of a node until its hello, of a node that
becomes a worker, and of ``python -c "import distributed"`` for scale; those that fail
(Python searches many directories) cost the server as much as others. Each count
includes Python's own start. A file server on a local network answers in half a
millisecond or so: then each such call is delayed by that time, and the total is
measured.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from paper import say

CALLS = re.compile(r"\b(open|openat|stat|lstat|newfstatat|statx|access|readlink)\(")
LISTS = re.compile(r"\bgetdents64\(")
SERVED = re.compile(r'"(?P<path>/[^"]*)"')
LOCAL = ("/proc", "/sys", "/dev", "/tmp", "/etc", "/lib", "/usr/lib", "/run")
WORKER = """
import dask_gridengine.node
import dask_gridengine.bootstrap.client
from dask_gridengine.worker import fast_import as light
with light.yaml_in_c(), light.numpy_later():
    import dask_gridengine.worker.run
"""
STEPS = {
    "python -c pass": "pass",
    "a node until its hello": (
        "import dask_gridengine.node, dask_gridengine.bootstrap.client"
    ),
    "a worker": WORKER,
    "import distributed": "import distributed",
}
DELAYED = "openat,newfstatat,readlink"
DELAY = 500  # microseconds


def count(code: str, log: Path) -> tuple[int, int, int]:
    """Calls with a path on what may be a file server; how many failed; lists read."""
    trace = ["-y", "-e", "trace=%file,getdents64", "-o", str(log)]
    _run(["strace", "-f", *trace], code)
    lines = log.read_text(errors="replace").splitlines()
    asked = [line for line in lines if CALLS.search(line) and not _is_local(line)]
    lists = [line for line in lines if LISTS.search(line)]
    return len(asked), sum("ENOENT" in line for line in asked), len(lists)


def delayed(code: str) -> float:
    """Seconds it takes where each of these calls is answered late."""
    inject = f"inject={DELAYED}:delay_enter={DELAY}"
    began = time.perf_counter()
    trace = ["-e", f"trace={DELAYED}", "-e", inject, "-o", "/dev/null"]
    _run(["strace", "-f", "-qq", *trace], code)
    return time.perf_counter() - began


def _run(before: list[str], code: str) -> None:
    subprocess.run([*before, sys.executable, "-c", code], check=True)


def _is_local(line: str) -> bool:
    found = SERVED.search(line)
    return found is None or found["path"].startswith(LOCAL)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        for name, code in STEPS.items():
            count(code, log)  # what is compiled at first
            asked, failed, lists = count(code, log)
            late = statistics.median(delayed(code) for _ in range(3))
            say(f"{name}: calls, of these in vain", f"{asked}, {failed}")
            say(f"{name}: directories listed", f"{lists}")
            say(f"{name}: at {DELAY} us a call", f"{late:.2f} s")


if __name__ == "__main__":
    main()
