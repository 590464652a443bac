"""Modules from one file, on the side of a node."""

from __future__ import annotations

import json
import os
import py_compile
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dask_gridengine.bootstrap.credentials import MODULES
from dask_gridengine.worker.bundle import HEAD, Bundle, use

WRITE = """
import sys
from pathlib import Path
import {modules}
from dask_gridengine.fleet.bundling import Bundling
assert Bundling(Path(sys.argv[1])).finish() == ""
"""
USE = """
import json, os, sys
from pathlib import Path
from dask_gridengine.worker import bundle
used = bundle.use(Path(sys.argv[1]))
finders = [getattr(f, "__name__", type(f).__name__) for f in sys.meta_path]
def ours(name):
    return type(sys.modules[name].__spec__.loader).__name__ == "_Loader"
"""


def python(code: str, path: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a Python that has imported distributed has laid into a file."""
    path = tmp_path_factory.mktemp("cluster") / MODULES
    python(WRITE.format(modules="distributed, this_is_mine"), path, **mine(path))
    return path


def mine(path: Path) -> dict[str, str]:
    """A module of the user's, and where it is."""
    source = path.with_name("this_is_mine.py")
    source.write_text("WHO = 'me'")
    py_compile.compile(str(source), doraise=True)
    return {"PYTHONPATH": str(path.parent)}


def told(code: str, path: Path, **environment: str) -> Any:
    return json.loads(python(USE + code, path, **environment))


def test_modules_are_as_they_would_be_without_it(bundled: Path) -> None:
    """Their files, packages, sources and data are where Python would say they are."""
    look = """
import distributed, inspect, tornado.web, importlib.resources, importlib.util
print(json.dumps({
    "ours": [name for name in sys.modules if used and ours_of(name)],
    "about": {
        name: [
            getattr(module, attribute, None)
            for attribute in ("__file__", "__cached__", "__package__", "__path__")
        ]
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("distributed", "dask", "tornado", "asyncio")
    },
    "line": inspect.getsource(tornado.web.RequestHandler).splitlines()[0],
    "data": importlib.resources.files("distributed").joinpath(
        "distributed.yaml").is_file(),
}))
"""
    define = """
def ours_of(name):
    loader = getattr(getattr(sys.modules[name], "__spec__", None), "loader", None)
    return type(loader).__name__ == "_Loader"
"""
    there = told(define + look, bundled)
    without = told(define + look, bundled.with_name("nothing"))
    assert without.pop("ours") == []
    ours = set(there.pop("ours"))
    assert {"distributed", "distributed.worker", "dask.config", "tornado.web"} <= ours
    assert len(ours) > 300
    assert there == without


def test_what_belongs_to_the_user_is_not_in_it(bundled: Path) -> None:
    """Whoever changes a module of theirs means the next worker to have it so."""
    bundle = Bundle(bundled)
    bundle.close()
    index = bundle._index
    assert "distributed.worker" in index
    assert "this_is_mine" not in index


def test_a_package_from_elsewhere_is_taken_from_there(
    bundled: Path, tmp_path: Path
) -> None:
    """A node whose path begins with another one of that name has that one."""
    (tmp_path / "tornado").mkdir()
    (tmp_path / "tornado" / "__init__.py").write_text("version = 'another'")
    (tmp_path / "tornado" / "web.py").write_text("WHO = 'another'")
    said = told(
        """
import tornado.web, asyncio.base_events
print(json.dumps([tornado.version, tornado.web.WHO, ours("asyncio.base_events")]))
""",
        bundled,
        PYTHONPATH=str(tmp_path),
    )
    assert said == ["another", "another", True]


def test_another_version_at_the_same_place_is_another(tmp_path: Path) -> None:
    """As in a container: its path is the cluster's, its content is not."""
    source = tmp_path / "zict.py"
    source.write_text("WHO = 'the cluster'")
    py_compile.compile(str(source), doraise=True)
    path = tmp_path / MODULES
    write = WRITE.format(modules="zict")
    python(write, path, PYTHONPATH=str(tmp_path))
    look = "import zict; print(json.dumps([zict.WHO, ours('zict')]))"
    assert told(look, path, PYTHONPATH=str(tmp_path)) == ["the cluster", True]
    source.write_text("WHO = 'a node'")
    assert told(look, path, PYTHONPATH=str(tmp_path)) == ["a node", False]


def test_who_is_asked_before_the_path_is_still_asked_before(bundled: Path) -> None:
    """Finders of others, as for editable installations, keep their places."""
    finders, found = told(
        """
print(json.dumps([finders, bool(used)]))
""",
        bundled,
    )
    assert found
    at = finders.index("Bundle")
    assert finders[at - 1 : at + 2] == ["FrozenImporter", "Bundle", "PathFinder"]


def test_when_the_file_is_lost_modules_come_from_where_they_are(
    bundled: Path, tmp_path: Path
) -> None:
    """A cluster that closes takes it away; a node is not hurt by that."""
    path = tmp_path / MODULES
    path.write_bytes(bundled.read_bytes())
    said = told(
        """
import tornado
os.truncate(sys.argv[1], 100)
import tornado.web
used.close()
os.unlink(sys.argv[1])
import distributed
print(json.dumps([ours("tornado"), tornado.web.__name__, distributed.__name__]))
""",
        path,
    )
    assert said == [True, "tornado.web", "distributed"]


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense", HEAD.pack(b"1234", 5) + b"12345", None],
    ids=["empty", "nonsense", "another Python", "not there"],
)
def test_what_is_no_bundle_is_left_alone(content: bytes | None, tmp_path: Path) -> None:
    """Then a node imports as ever."""
    path = tmp_path / MODULES
    if content is not None:
        path.write_bytes(content)
    before = list(sys.meta_path)
    assert use(path) is None
    assert sys.meta_path == before


def test_a_fork_opens_it_for_itself(bundled: Path) -> None:
    """It shares no descriptor, which others may close under it."""
    said = told(
        """
import tornado
before = set(os.listdir("/proc/self/fd"))
read, write = os.pipe()
if not os.fork():
    held = any("modules" in os.readlink(f"/proc/self/fd/{fd}")
               for fd in os.listdir("/proc/self/fd")
               if os.path.lexists(f"/proc/self/fd/{fd}"))
    import tornado.web
    os.write(write, json.dumps([held, ours("tornado.web")]).encode())
    os._exit(0)
os.wait()
print(os.read(read, 100).decode())
""",
        bundled,
    )
    assert said == [False, True]
