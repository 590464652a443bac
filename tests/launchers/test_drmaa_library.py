"""How a command gets through libdrmaa, and what usages say; the rest needs a cell.

See ``tests/grid/test_drmaa_launcher.py``.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dask_gridengine.launchers.base import NodeEnd, NodeId
from dask_gridengine.launchers.drmaa_library import (
    APPLICATION_ERROR,
    DELETED,
    UNSTARTED,
    aborted,
    measured,
    one_line,
)

printable = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs",), exclude_characters="\0")
)
SHOW = "import os, sys; sys.stdout.buffer.write(os.fsencode(ascii(sys.argv[1:])))"
SHOW += "; sys.stdout.write('\\n' + ascii(os.environ.get('V')))"


@settings(max_examples=40, deadline=None)
@given(st.lists(printable, max_size=4), st.none() | printable)
@example(["a\nb", "it's", '"q" $HOME `x`', "\\n \\0012 %s"], "x=y\nz='")
@example(["ends in newlines\n\n", ""], "=")
@example(["-n", "é☃"], None)
def test_a_command_is_put_together_as_it_was(
    arguments: list[str], value: str | None
) -> None:
    """Whatever is in its arguments and variables, and none of it is cut on the way."""
    command = (sys.executable, "-c", SHOW, *arguments)
    given_environment = {} if value is None else {"V": value}
    wrapped, environment = one_line(command, given_environment)
    assert not any("\n" in word for word in wrapped)
    assert not any("=" in text for text in environment.values())
    ran = subprocess.run(
        wrapped, env={**environment, "PYTHONUTF8": "1"}, capture_output=True, check=True
    )
    assert ran.stdout.decode() == f"{arguments!a}\n{value!a}"


def test_a_plain_command_stays_as_it_is() -> None:
    """What qstat shows should be what was asked for, where that is possible."""
    command = ("/bin/sh", "-c", "echo 'it' \"$HOME\"")
    assert one_line(command, {"A": "x y"}) == (command, {"A": "x y"})


@pytest.mark.parametrize("ending", ["exec false", "exit 3", "kill -9 $$"])
def test_the_wrapping_adds_nothing_of_its_own(ending: str) -> None:
    """The command takes the shell's place: its end is the job's end."""
    command = ("/bin/sh", "-c", f"true\n{ending}")
    plain = subprocess.run(command).returncode
    assert subprocess.run(one_line(command, {})[0]).returncode == plain


STARTED = {"start_time": "1795415390.0000", "ru_wallclock": "3.0000"}


def test_a_usage_tells_how_long_and_how_big() -> None:
    """The bigger of two figures for the memory; nothing where there is no number."""
    node = NodeId("1", 2)
    usage = {**STARTED, "maxvmem": "3284992.0000", "acct_maxvmem": "4284992.0000"}
    assert measured(node, usage) == NodeEnd(node=node, ran=3.0, peak_memory=4284992)
    assert measured(node, {}) == NodeEnd(node=node)
    odd = {"start_time": "0", "ru_wallclock": "NONE", "maxvmem": "nan"}
    assert measured(node, odd) == NodeEnd(node=node)


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"maxvmem": "0.0000"}, {"unstarted": True, "reason": UNSTARTED}),
        (
            {**STARTED, "exit_status": "100.0000"},
            {"unstarted": True, "reason": APPLICATION_ERROR, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "137.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "0.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
    ],
)
def test_aborted_is_deleted_or_never_started(
    usage: dict[str, str], told: dict[str, Any]
) -> None:
    """A deleted job had a start, and with -notify its exit status is its own choice."""
    node = NodeId("1", 2)
    assert aborted(measured(node, usage), usage) == NodeEnd(node=node, **told)
