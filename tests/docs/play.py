"""Run a page's blocks as its reader would: in order, in one Python.

    python -m tests.docs.play PAGE [--on-the-grid]

The first block that fails, or prints something else than the page says, ends it with
the line of the page.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import io
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import dask
import yaml

from dask_gridengine.options import Options
from tests.docs.blocks import Block, blocks_of

COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Differs(Exception):
    """A block has printed something else than the page says."""


def play(page: Path, *, on_the_grid: bool) -> None:
    """Run all blocks that are to be run here.

    Raises
    ------
    Differs
        If one prints something else than the page says.
    """
    player = _Player()
    for block in blocks_of(page):
        if block.reason or block.fault or (block.on_the_grid and not on_the_grid):
            player.said = None
            continue
        try:
            player.play(block)
        except BaseException:
            sys.stderr.write(f"{block} failed:\n")
            raise


class _Player:
    def __init__(self) -> None:
        # As in a script or a notebook: what is defined here cannot be imported.
        self.main = types.ModuleType("__main__")
        sys.modules["__main__"] = self.main
        self.said: str | None = None  # what the last block printed

    def play(self, block: Block) -> None:
        if block.is_output:
            if self.said is not None:
                compare(block.code, self.said)
            return
        self.said = getattr(self, f"_{block.language}")(block)

    def _python(self, block: Block) -> str:
        # Empty lines before it, so that a traceback has the line of the page.
        source = "\n" * block.line + block.code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(block.page), "exec", flags, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            result = eval(code, vars(self.main))
            if inspect.iscoroutine(result):
                asyncio.run(_awaited(result))
        return said.getvalue()

    def _pycon(self, block: Block) -> str:
        parsed = doctest.DocTestParser().get_doctest(
            block.code, {}, block.page.name, str(block.page), block.line
        )
        parsed.globs = vars(self.main)
        runner = doctest.DocTestRunner(optionflags=COMPARED, verbose=False)
        said: list[str] = []
        runner.run(parsed, out=said.append, clear_globs=False)
        if runner.failures:
            raise Differs("".join(said))
        return ""

    def _console(self, block: Block) -> str:
        for command, expected in commands(block.code):
            said = shell(command)
            if expected:
                compare(expected, said)
        return ""

    def _sh(self, block: Block) -> str:
        return shell(f"set -eu\n{block.code}")

    def _yaml(self, block: Block) -> str:
        settings = yaml.safe_load(block.code)
        with dask.config.set(dask.config.merge(dask.config.config, settings)):
            options = settings.get("gridengine") or {}
            names = [name.replace("-", "_") for name in options]
            known = [*Options.names(), "map"]
            if unknown := [name for name in names if name not in known]:
                raise Differs(f"there is no option {unknown}")
            Options.resolve({})
        return ""


async def _awaited(coroutine: types.CoroutineType[object, object, object]) -> None:
    await coroutine


def commands(session: str) -> Iterator[tuple[str, str]]:
    """Commands of a terminal session, each with what is shown of its output."""
    for part in f"\n{session}".split("\n$ ")[1:]:
        lines = part.splitlines()
        length = next(n for n, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield "\n".join(lines[:length]), "\n".join(lines[length:])


def shell(command: str) -> str:
    """What a command prints, on either stream.

    Raises
    ------
    Differs
        If it fails.
    """
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=100,
    )
    if done.returncode:
        raise Differs(f"{command} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def compare(expected: str, said: str) -> None:
    """Compare what was printed with what a page shows.

    Raises
    ------
    Differs
        If they do.
    """
    expected, said = (text.rstrip() + "\n" for text in (expected, said))
    if not doctest.OutputChecker().check_output(expected, said, COMPARED):
        raise Differs(f"the page shows\n{expected}\nit prints\n{said}")


if __name__ == "__main__":
    play(Path(sys.argv[1]), on_the_grid="--on-the-grid" in sys.argv)
