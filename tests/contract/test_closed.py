"""A cluster that is closed or has not started: what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any

import pytest
from distributed.core import Status

from dask_gridengine import ClusterNotRunning, GridEngineCluster
from dask_gridengine.bootstrap.messages import ControlRequest
from dask_gridengine.cluster.control import ControlHandler
from tests.clusters import running

#: Answered before the start, too.
ALWAYS: dict[str, tuple[Any, ...]] = {
    "__repr__": (),
    "_repr_html_": (),
    "asynchronous": (),
    "called_from_running_loop": (),
    "dashboard_link": (),
    "loop": (),
    "name": (),
    "note": ("a line",),
    "problems": (),
    "scheduler_address": (),
    "stuck": (),
}
#: Answered from the start on, also after the end.
ANSWERED: dict[str, tuple[Any, ...]] = {
    "counts": (),
    "explain": (),
    "job_script": (),
    "jobs": (),
    "launcher_description": (),
    "observed": (),
    "plan": (),
    "pool": (),
    "requested": (),
    "timeline": (),
    "waiting": (),
    "wanted": (),
}
#: Rejected without a running cluster.
REFUSED: dict[str, tuple[Any, ...]] = {
    "__enter__": (),
    "adapt": (),
    "get_logs": (),
    "in_process_address": (),
    "scale": (1,),
    "scale_down": (["ge-0"],),
    "scale_up": (1,),
    "wait_for_workers": (1,),
}
OTHERS = {
    "close",  # does nothing then
    "get_client",  # Dask's own, which refuses a closed one and starts a new one
    "from_name",  # of the class; Dask's own, not for this kind of cluster
    "sync",  # Dask's own, for what runs in the loop
    "new_worker_spec",  # SpecCluster asks for it
    "scale_adaptively",  # GridAdaptive calls it
}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> GridEngineCluster:
    with running(tmp_path_factory.mktemp("shared"), jobs=1) as cluster:
        cluster.wait_for_workers(1, timeout=30)
    return cluster


async def ask(cluster: GridEngineCluster, name: str, arguments: tuple[Any, ...]) -> Any:
    """The answer of a property, a method or a coroutine."""
    answer = getattr(cluster, name)
    if callable(answer):
        answer = answer(*arguments)
    return await answer if inspect.iscoroutine(answer) else answer


def unstarted(shared: Path) -> GridEngineCluster:
    return GridEngineCluster(
        jobs=1,
        launcher="process",
        asynchronous=True,
        shared_directory=shared,
        scheduler_options={"dashboard_address": ":0", "dashboard": False},
        quiet=True,
    )


def test_every_public_name_is_in_one_of_the_lists() -> None:
    """Whoever adds one has to say what it does when the cluster does not run."""
    public = {name for name in dir(GridEngineCluster) if not name.startswith("_")}
    public.discard("logs")  # another name of get_logs in Dask before 2026.6
    listed = [*ALWAYS, *ANSWERED, *REFUSED, *OTHERS]
    assert public == {name for name in listed if not name.startswith("_")}
    assert len(listed) == len({*listed})


@pytest.mark.parametrize("name", [*ALWAYS, *ANSWERED])
def test_it_is_answered_after_the_end(name: str, closed: GridEngineCluster) -> None:
    """What became of the nodes is asked most when all is over."""
    asyncio.run(ask(closed, name, {**ALWAYS, **ANSWERED}[name]))


def test_the_answers_are_those_of_the_end(closed: GridEngineCluster) -> None:
    """They are as complete as before."""
    assert closed.status is Status.closed
    assert closed.counts == closed.jobs().counts() == {"gone": 1}
    assert "was cancelled" in closed.explain()
    assert "ge-0" in closed.explain("ge-0")
    assert closed.launcher_description in closed.job_script()
    assert "closed" in repr(closed)


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_after_the_end(name: str, closed: GridEngineCluster) -> None:
    """By one error, which names the cluster and its state."""
    with pytest.raises(ClusterNotRunning, match=f"{closed.name} is closed"):
        asyncio.run(ask(closed, name, REFUSED[name]))


def test_a_closed_cluster_cannot_be_entered_again(shared: Path) -> None:
    """In an event loop, too."""

    async def main() -> None:
        cluster = unstarted(shared)
        async with cluster:
            pass
        with pytest.raises(ClusterNotRunning, match="closed"):
            async with cluster:
                pass

    asyncio.run(main())


def test_before_the_start_there_are_answers_or_one_error(shared: Path) -> None:
    """In asynchronous use a cluster can be asked before it is awaited."""

    async def main() -> None:
        cluster = unstarted(shared)
        for name, arguments in ALWAYS.items():
            await ask(cluster, name, arguments)
        for name, arguments in {**ANSWERED, **REFUSED}.items():
            with pytest.raises(ClusterNotRunning, match="has not started"):
                await ask(cluster, name, arguments)
        await cluster
        for name, arguments in {**ALWAYS, **ANSWERED}.items():
            await ask(cluster, name, arguments)
        await cluster.close()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["status", "explain", "logs", "client"])
def test_other_programs_of_the_user_hear_of_the_end(
    what: str, closed: GridEngineCluster
) -> None:
    """``ps`` and ``kill`` may meet a cluster that closes: an answer, or a sentence."""
    question = ControlRequest(
        process_token="0" * 16, what=what, about="", via="127.0.0.1:1"
    )
    told = asyncio.run(ControlHandler(closed).answer(question))
    assert told.body or "is closed" in told.error
