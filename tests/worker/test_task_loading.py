"""The user's own modules on the nodes, and errors where one is missing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from dask_gridengine import GridEngineCluster, ModuleMissing
from tests.clusters import running
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from pathlib import Path

if __name__ == "__main__":
    # As notebooks do before they start a cluster.
    sys.path.append(str(Path(__file__).parent / "packed.zip"))
    import beside, in_pythonpath, packed
    from distributed import Client

    from dask_gridengine import GridEngineCluster
    import gridengine

    with (
        GridEngineCluster(
            jobs=1,
            launcher="process",
            shared_directory={shared!r},
            scheduler_options={{"dashboard_address": ":0", "dashboard": False}},
        ) as cluster,
        Client(cluster) as client,
    ):
        for module in (beside, in_pythonpath, packed):
            assert client.submit(module.double, 21).result(timeout=60) == 42, module
        with gridengine.ProcessScheduler(1) as scheduler:
            doubled = gridengine.map(beside.double, [1, 2], scheduler=scheduler)
            assert list(doubled) == [2, 4]
    sys.stdout.write("all found\\n")
"""

MODULE = "def double(x):\n    return 2 * x\n"


@pytest.fixture
def project(tmp_path: Path, shared: Path) -> Path:
    """A package of a script with a module beside it, and modules elsewhere."""
    package = tmp_path / "proj" / "package"
    (package / "sub").mkdir(parents=True)
    (package / "main.py").write_text(SCRIPT.format(shared=str(shared)))
    (package / "beside.py").write_text(MODULE)
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "in_pythonpath.py").write_text(MODULE)
    with zipfile.ZipFile(package / "packed.zip", "w") as archive:
        archive.writestr("packed.py", MODULE)
    return package


def run(command: list[str], cwd: Path, *path: Path) -> str:
    """The output of a user's command, with these directories as PYTHONPATH."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT])),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_workers_import_what_a_script_imports(project: Path) -> None:
    """From the script's directory, PYTHONPATH, and what was appended to sys.path."""
    output = run(["../main.py"], project / "sub", project.parents[1] / "libs")
    assert "all found" in output


def module(folder: Path, name: str, text: str = MODULE) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(textwrap.dedent(text))
    return path


@pytest.fixture
def cluster(shared: Path) -> Iterator[GridEngineCluster]:
    with running(shared, jobs=1, slots=1) as made:
        made.wait_for_workers(1, timeout=60)
        yield made


def test_a_missing_module_fails_the_task(
    cluster: GridEngineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names module, host and the client's file; no worker ends."""
    path = module(tmp_path / "later", "imported_later")
    monkeypatch.syspath_prepend(path.parent)
    imported = importlib.import_module("imported_later")
    with Client(cluster) as client:
        with pytest.raises(ModuleNotFoundError) as caught:
            client.submit(imported.double, 21).result(timeout=60)
        path.unlink()
        with pytest.raises(ModuleMissing) as gone:
            client.submit(imported.double, 22).result(timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    (node,) = cluster.jobs()
    for error, there in ((caught.value, True), (gone.value, False)):
        assert isinstance(error, ModuleMissing)
        assert (error.name, error.host) == ("imported_later", node.host)
        assert (error.path, error.there) == (str(path), there)
        assert "imported_later" in str(error)
        assert "network" not in str(error)
    assert node.state.value == "working"


class ReadableHere:
    """An argument that is unpickled in this process, and not in a worker's."""

    def __reduce__(self) -> Any:
        return read, (os.getpid(),)


def read(pid: int) -> ReadableHere:
    if os.getpid() != pid:
        raise ZeroDivisionError("read elsewhere")
    return ReadableHere()


class ExitsElsewhere:
    """An argument that ends Python where it is unpickled, as some modules do."""

    def __reduce__(self) -> Any:
        return leave, (os.getpid(),)


def leave(pid: int) -> ExitsElsewhere:
    if os.getpid() != pid:
        sys.exit("no device here")
    return ExitsElsewhere()


def test_an_exit_while_a_task_is_unpickled_ends_no_worker(
    cluster: GridEngineCluster,
) -> None:
    """The task fails with its message, and is not tried on other workers."""
    with Client(cluster) as client:
        with pytest.raises(RuntimeError, match="no device here"):
            client.submit(id, ExitsElsewhere()).result(timeout=60)
        assert client.submit(sum, [1, 2]).result(timeout=60) == 3
    assert [node.state.value for node in cluster.jobs()] == ["working"]


def test_an_error_while_a_task_is_unpickled_fails_that_task(
    cluster: GridEngineCluster,
) -> None:
    """The tasks that were sent with it are not affected."""
    with Client(cluster) as client:
        others = client.map(lambda x: x, range(20), pure=False)
        with pytest.raises(ZeroDivisionError, match="read elsewhere"):
            client.submit(str, ReadableHere()).result(timeout=60)
        assert client.gather(others) == list(range(20))
    (node,) = cluster.jobs()
    assert node.state.value == "working"


def test_the_clients_modules_do_not_replace_installed_ones(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come after the node's standard library and packages."""
    for name in ("yaml", "colorsys", "only_here"):
        module(tmp_path / "own", name)
    monkeypatch.setattr("sys.path", [*sys.path, str(tmp_path / "own")])

    def where(name: str) -> str:
        return str(importlib.import_module(name).__file__)

    with running(shared, jobs=1) as cluster, Client(cluster) as client:
        futures = client.map(where, ["yaml", "colorsys", "only_here"])
        own = [str(tmp_path) in place for place in client.gather(futures)]
    assert own == [False, False, True]


def test_an_unreadable_message_is_not_blamed_on_the_network(
    shared: Path, tmp_path: Path
) -> None:
    """The cause is the error in the node's log, and that log is kept on close."""

    def send(dask_scheduler: Any) -> None:
        from distributed.protocol.serialize import ToPickle

        class Unreadable:
            def __reduce__(self) -> Any:
                return exec, ("import no_such_module",)

        message = {"op": "free-keys", "keys": [], "stimulus_id": "a test"}
        for stream in dask_scheduler.stream_comms.values():
            stream.send({**message, "unread": ToPickle(Unreadable())})

    with running(shared, jobs=1, slots=1) as cluster, Client(cluster) as client:
        cluster.wait_for_workers(1, timeout=60)
        client.run_on_scheduler(send)
        wait_until(
            lambda: "no_such_module" in cluster.explain(),
            "the cause",
            30,
            cluster.explain,
        )
        assert "the network" not in cluster.explain()
    logs = [path.read_text() for path in shared.rglob("*.log")]
    assert any("no_such_module" in log for log in logs)
