"""What happens to jobs whose script ends before them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

#: Dispatches three jobs; the second one raises if it is told to.
SCRIPT = """
import gridengine, pathlib, sys, time

def write(i):
    time.sleep(0.2)
    if i == 1 and "raise" in sys.argv:
        raise ValueError("no one")
    pathlib.Path(f"out{i}").touch()

if __name__ == "__main__":
    dispatcher = gridengine.JobDispatcher(gridengine.ProcessScheduler(2))
    jobs = [gridengine.Job(target=write, args=(i,), name=f"job {i}") for i in range(3)]
    dispatcher.dispatch(jobs)
    if "join" in sys.argv:
        dispatcher.join()
"""

CANNOT = (3, 12) <= sys.version_info < (3, 12, 2)
needs_threads_at_end = pytest.mark.skipif(
    CANNOT, reason="this Python starts no thread when the script has ended"
)


def ran(tmp_path: Path, *words: str) -> tuple[int, str, list[str]]:
    """Exit status, stderr, and what the jobs wrote."""
    (tmp_path / "script.py").write_text(SCRIPT.replace("sys.argv", repr(words)))
    done = subprocess.run(
        [sys.executable, "script.py"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={"DASK_GRIDENGINE__SHARED_DIRECTORY": str(tmp_path / "shared")},
    )
    assert done.stdout == ""
    written = sorted(path.name for path in tmp_path.glob("out*"))
    return done.returncode, done.stderr, written


@needs_threads_at_end
def test_python_waits_for_dispatched_jobs(tmp_path: Path) -> None:
    """A script that does not join leaves no job undone."""
    assert ran(tmp_path) == (0, "", ["out0", "out1", "out2"])


@needs_threads_at_end
def test_what_failed_and_nobody_joined_is_told(tmp_path: Path) -> None:
    """How many, and why the first of them; the others are done."""
    status, said, written = ran(tmp_path, "raise")
    assert (status, written) == (0, ["out0", "out2"])
    assert said == (
        "1 of 3 dispatched jobs have failed, and nobody joined them;"
        " job 1: ValueError('no one')\n"
    )


def test_what_was_joined_is_not_told_again(tmp_path: Path) -> None:
    """Whoever has joined has the exceptions."""
    assert ran(tmp_path, "raise", "join") == (0, "", ["out0", "out2"])


@pytest.mark.skipif(not CANNOT, reason="this Python can wait for them")
def test_a_python_that_cannot_wait_says_so(tmp_path: Path) -> None:
    """3.12.0 and 3.12.1 lose what was not begun, but not silently."""
    status, said, written = ran(tmp_path)
    assert (status, written) == (0, [])
    assert said.startswith("3 of 3 dispatched jobs have failed, and nobody joined them")
    assert "can't create new thread at interpreter shutdown" in said
