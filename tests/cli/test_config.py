"""``config``: each setting and where it was set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import dask.config
import pytest

from tests.clusters import typed


@pytest.fixture
def site_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
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


def row(key: str, *arguments: str) -> dict[str, object]:
    """Return what --json prints for one setting."""
    # Before Click 8.2 its runner adds what goes to stderr, for example a warning.
    printed = typed("config", key, "--json", *arguments).stdout
    (found,), _ = json.JSONDecoder().raw_decode(printed)
    return {"value": found["value"], "source": found["source"]}


def test_the_source_of_each_setting(site_file: Path) -> None:
    """A file, an environment variable, an argument, or the default."""
    assert row("queue") == {"value": "long.q", "source": str(site_file)}
    assert row("cores") == {"value": 4, "source": "$DASK_GRIDENGINE__CORES"}
    assert row("cores", "-o", "cores=8") == {"value": 8, "source": "argument"}
    assert row("walltime") == {"value": None, "source": "default"}


def test_secrets_are_hidden(site_file: Path) -> None:
    """The environment of the nodes may hold passwords."""
    assert row("environment")["value"] == {"TOKEN": "(hidden)"}
    assert "abc" not in typed("config").output


def test_unknown_keys(site_file: Path) -> None:
    """The error names the file and a similar key."""
    ended = typed("config", "--changed")
    assert ended.exit_code == 1
    for expected in (str(site_file), "gridengine.que", "'queue'"):
        assert expected in ended.output


def test_settings_are_printed_in_the_order_of_the_question() -> None:
    """So that a script can read them (D5)."""
    lines = typed("config", "walltime", "queue").stdout.splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ["walltime", "queue"]


@pytest.mark.parametrize(
    "command",
    [["up", "--jobs=1"], ["doctor"], ["demo"], ["ps"], ["kill"], ["explain"], ["logs"]],
    ids=" ".join,
)
def test_a_misspelt_key_stops_each_command(site_file: Path, command: list[str]) -> None:
    """The error suggests the right one, before anything is done (D5)."""
    ended = typed(*command)
    assert ended.exit_code != 0
    assert "gridengine.que " in ended.output
    assert "'queue'" in ended.output


@pytest.mark.parametrize("command", ["up", "doctor", "demo"])
def test_a_cluster_has_the_same_options_everywhere(command: str) -> None:
    """What was tried with one command can be typed for another (D5)."""
    text = typed(command, "--help").output
    for name in ("--queue", "--walltime", "--memory", "--cores", "-o, --option"):
        assert name in text


def test_invalid_values(site_file: Path) -> None:
    """A value that a cluster rejects is an error here as well."""
    ended = typed("config", "memory", "-o", "memory=much")
    assert ended.exit_code == 1
    assert "memory" in ended.output
    ended = typed("config", "quue")
    assert ended.exit_code == 2
    assert "'queue'" in ended.output
    ended = typed("config", "-o", "nonsense=1")
    assert ended.exit_code == 2
