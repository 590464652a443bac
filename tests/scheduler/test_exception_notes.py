"""Notes on exceptions say why workers died."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client
from distributed.scheduler import KilledWorker

import dask_gridengine
from dask_gridengine import GridEngineCluster
from dask_gridengine.scheduler.exception_notes import PREFIX, annotate


@pytest.fixture
def options(options: dict[str, Any]) -> dict[str, Any]:
    return {**options, "security": False}


@contextmanager
def no_failure_allowed() -> Iterator[None]:
    """A task that has killed one worker fails."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        yield


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def notes(exception: BaseException) -> list[str]:
    return list(getattr(exception, "__notes__", []))


def test_a_note_replaces_ours_and_no_other() -> None:
    """A later one knows more."""
    error = ValueError("x")
    error.__notes__ = ["the user's own"]  # type: ignore[attr-defined]
    annotate(error, "first")
    annotate(error, "second")
    assert notes(error) == ["the user's own", f"{PREFIX}second"]


def test_an_empty_text_adds_no_note() -> None:
    """And removes none."""
    error = ValueError("x")
    annotate(error, "")
    assert notes(error) == []
    annotate(error, "first")
    annotate(error, "")
    assert notes(error) == [f"{PREFIX}first"]


def test_notes_survive_pickling() -> None:
    """They cross processes with their exception."""
    error = KilledWorker("key", None, 3)  # type: ignore[arg-type]
    annotate(error, "because")
    assert notes(pickle.loads(pickle.dumps(error))) == [f"{PREFIX}because"]


ELSEWHERE = """
import os, sys
from distributed import Client
from distributed.scheduler import KilledWorker

def die():
    os.kill(os.getpid(), 9)

if __name__ == "__main__":
    with Client(sys.argv[1]) as client:
        try:
            client.submit(die).result(timeout=60)
        except KilledWorker as exc:
            print(*exc.__notes__)
"""


def test_a_killed_worker_is_explained_to_clients_in_any_process(
    options: dict[str, Any],
) -> None:
    """With the cause of the death, and the worker."""
    with (
        no_failure_allowed(),
        GridEngineCluster(jobs=1, **options) as cluster,
        Client(cluster) as client,
    ):
        with pytest.raises(KilledWorker) as caught:
            client.submit(die).result(timeout=60)
        (note,) = notes(caught.value)
        assert note.startswith(PREFIX)
        assert "ge-0 (node 1.1 on " in note
        assert "SIGKILL" in note
        done = subprocess.run(
            [sys.executable, "-c", ELSEWHERE, cluster.scheduler_address],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stdout.startswith(f"{PREFIX}the workers that ran it:"), done
        assert "ge-0 (node 1.1 on " in done.stdout
        assert "SIGKILL" in done.stdout


def test_no_frame_of_ours_is_in_a_task_s_traceback(options: dict[str, Any]) -> None:
    """What a user reads of an error is their own code, as with Dask's clusters."""
    package = str(Path(dask_gridengine.__file__).parent)
    with GridEngineCluster(jobs=1, **options) as cluster, Client(cluster) as client:
        future = client.submit(divmod, 1, 0)
        for wait in (future.result, partial(client.gather, future)):
            with pytest.raises(ZeroDivisionError) as caught:
                wait()
            frames = [f.filename for f in traceback.extract_tb(caught.tb)]
            assert not [name for name in frames if name.startswith(package)]
            assert len(frames) < 4
            assert notes(caught.value) == []
