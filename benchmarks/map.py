"""`gridengine.map` beside what else maps a function over items, in one run.

Run it on a quiet machine, with joblib and ipyparallel installed (or it says which is
missing and goes on); the last case on the master host of a cell::

    .venv/bin/python benchmarks/map.py
    ci/grid up 2 8
    ci/grid run gridmaster .venv/bin/python benchmarks/map.py --only grid
    ci/grid down

Contenders take turns, so that a machine that grows slower meanwhile slows all of them.
What is printed is the median of the repeats, with the fastest and the slowest. Each
case runs in a Python of its own: none finds memory, threads or imports of another. What
the workers run is in a module that all of them can import, so nobody sends it by value;
and before anything is counted each contender runs once, and its results are compared.

Ours has TLS on, which is its default, where a case does not say otherwise; the others
talk as they do by default. On the grid there is nobody to take turns with: clustermq's
figures (50 items 1.5 s, a million 14 s, both cold) were measured on such a cell in
another run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from map_report import GOAL, SKIPPED, say

#: Case to the module with its `main(repeats, quick)`.
CASES = {
    "squares": "map_squares",
    "even": "map_uneven",
    "uneven": "map_uneven",
    "arrays": "map_arrays",
    "endless": "map_endless",
    "cold": "map_cold",
    "grid": "map_grid",
}
HERE = Path(__file__).parent


def run_here(name: str, repeats: int, quick: bool) -> None:
    """Run one case in this process."""
    # For the processes that are started: what they run is in these modules.
    path = [str(HERE), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    module = import_module(CASES[name])
    getattr(module, name)(repeats, quick)


def run_apart(name: str, repeats: int, quick: bool) -> list[str]:
    """Run one case in its own Python; return its lines about goals."""
    command = [sys.executable, __file__, "--only", name, "--repeats", str(repeats)]
    found = []
    with subprocess.Popen(
        command + ["--quick"] * quick, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            say(line.rstrip("\n"))
            if line.strip().startswith((GOAL, SKIPPED)):
                found.append(f"{name:<8} {line.strip()}")
    if child.returncode:
        found.append(f"{name:<8} FAILED, exit status {child.returncode}")
        say(found[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small, to see it run")
    options = parser.parse_args()
    names = options.only or list(CASES)
    repeats = 1 if options.quick else options.repeats
    if len(names) == 1:
        run_here(names[0], repeats, options.quick)
        return 0
    goals = [line for name in names for line in run_apart(name, repeats, options.quick)]
    say("\nAll goals" + ", but with too little to measure" * options.quick)
    for line in goals:
        say(f"  {line}")
    return int(any("FAILED" in line for line in goals))


if __name__ == "__main__":
    sys.exit(main())
