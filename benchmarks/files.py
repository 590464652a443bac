"""What a start asks of the file system: on a grid that is a file server, all at once.

    apt-get install strace
    python benchmarks/files.py

Counts the system calls that take a path, of a node until its hello, of a node that
becomes a worker, and of ``python -c "import distributed"`` for scale; those that fail
(Python looks in many places) cost the server as much as others. Python's own start is
in each. A file server on a local network answers in half a millisecond or so.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from paper import say

CALLS = re.compile(r"\b(open|openat|stat|lstat|newfstatat|statx|access|readlink)\(")
LISTS = re.compile(r"\bgetdents64\(")
SERVED = re.compile(r'"(?P<path>/[^"]*)"')
LOCAL = ("/proc", "/sys", "/dev", "/tmp", "/etc", "/lib", "/usr/lib", "/run")
STEPS = {
    "python -c pass": "pass",
    "a node until its hello": (
        "import dask_gridengine.node, dask_gridengine.bootstrap.arrival"
    ),
    "a worker": (
        "import dask_gridengine.node as node, gc\n"
        "import dask_gridengine.bootstrap.arrival\n"
        "from dask_gridengine.worker import light\n"
        "with light.yaml_in_c(), light.numpy_later():\n"
        "    import dask_gridengine.worker.life"
    ),
    "import distributed": "import distributed",
}


def count(code: str) -> tuple[int, int, int]:
    """Calls with a path on what may be a file server; how many failed; lists read."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        command = ["strace", "-f", "-y", "-e", "trace=%file,getdents64", "-o", str(log)]
        subprocess.run([*command, sys.executable, "-c", code], check=True)
        lines = log.read_text(errors="replace").splitlines()
    asked = [line for line in lines if CALLS.search(line) and not _is_local(line)]
    lists = [line for line in lines if LISTS.search(line)]
    return len(asked), sum("ENOENT" in line for line in asked), len(lists)


def _is_local(line: str) -> bool:
    found = SERVED.search(line)
    return found is None or found["path"].startswith(LOCAL)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    for name, code in STEPS.items():
        count(code)  # what is compiled at first
        asked, failed, lists = count(code)
        say(f"{name}: calls, of these in vain", f"{asked}, {failed}")
        say(f"{name}: directories listed", f"{lists}")


if __name__ == "__main__":
    main()
