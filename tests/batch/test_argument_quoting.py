"""How a command gets to a node whole."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dask_gridengine.batch.sge.argument_quoting import one_line

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
