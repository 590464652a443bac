"""``config``: each setting, and where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest

from tests.clusters import typed


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file of Dask's configuration, which this process has read."""
    path = tmp_path / "site.yaml"
    path.write_text(
        "gridengine:\n  queue: long.q\n  que: x\n"
        "  environment: {TOKEN: abc}\n  pools: {gpu: {memory: 1 GB}}\n"
    )
    monkeypatch.setattr(dask.config, "paths", [str(tmp_path)])
    monkeypatch.setenv("DASK_GRIDENGINE__CORES", "4")
    read = dask.config.collect(paths=[str(tmp_path)])["gridengine"]
    with dask.config.set({f"gridengine.{key}": value for key, value in read.items()}):
        yield path


def row(key: str, *arguments: str) -> dict[str, str]:
    """What --json says of one."""
    # Before Click 8.2 its runner adds what goes to stderr, where a warning is.
    said = typed("config", key, "--json", *arguments).stdout
    (found,), _ = json.JSONDecoder().raw_decode(said)
    return {"value": found["value"], "source": found["source"]}


def test_where_each_is_from(settings: Path) -> None:
    """A file, the environment, an argument, or the default."""
    assert row("queue") == {"value": "long.q", "source": str(settings)}
    assert row("cores") == {"value": 4, "source": "$DASK_GRIDENGINE__CORES"}
    assert row("cores", "-o", "cores=8") == {"value": 8, "source": "argument"}
    assert row("walltime") == {"value": None, "source": "default"}
    with dask.config.set({"gridengine.walltime": "01:00:00"}):
        assert row("walltime")["source"] == "set in this process"


def test_secrets_are_hidden(settings: Path) -> None:
    """What is in the environment of nodes is nobody's business."""
    assert row("environment")["value"] == {"TOKEN": "(hidden)"}
    assert "abc" not in typed("config").output


def test_what_nobody_reads_is_named(settings: Path) -> None:
    """With what was meant, where it stands, and exit status 1."""
    ended = typed("config", "--changed")
    assert ended.exit_code == 1
    assert "gridengine.que is no setting" in ended.output
    assert "did you mean 'queue'?" in ended.output


def test_what_makes_no_sense(settings: Path) -> None:
    """A value that a cluster would refuse is refused here, in the same words."""
    ended = typed("config", "memory", "-o", "memory=much")
    assert ended.exit_code == 1
    assert "memory" in ended.output
    ended = typed("config", "nonsense")
    assert ended.exit_code == 2
    ended = typed("config", "-o", "nonsense=1")
    assert ended.exit_code == 2
