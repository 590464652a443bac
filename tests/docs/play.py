"""Run the code blocks of a page in order, in one Python.

    python -m tests.docs.play PAGE [--on-the-grid]

A block that fails, or prints something else than the page shows, ends this with its
line of the page.
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
    """A block has printed something else than the page shows."""


def play(page: Path, *, on_the_grid: bool) -> None:
    """Run all blocks; raise `Differs` if one prints something else than shown."""
    player = _Player()
    for block in blocks_of(page):
        if block.reason or block.fault or (block.on_the_grid and not on_the_grid):
            player.output = None
            continue
        try:
            player.play(block)
        except BaseException:
            sys.stderr.write(f"{block} failed:\n")
            raise


class _Player:
    def __init__(self) -> None:
        # As in a script or a notebook: definitions in it cannot be imported.
        self.main = types.ModuleType("__main__")
        sys.modules["__main__"] = self.main
        self.output: str | None = None  # what the last block printed

    def play(self, block: Block) -> None:
        if block.is_output:
            if self.output is not None:
                compare(block.code, self.output)
            return
        self.output = getattr(self, f"_{block.language}")(block)

    def _python(self, block: Block) -> str:
        # Empty lines before it, so that a traceback has the line of the page.
        source = "\n" * block.line + block.code
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(source, str(block.page), "exec", flags, dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            result = eval(code, vars(self.main))
            if inspect.iscoroutine(result):
                asyncio.run(_awaited(result))
        return output.getvalue()

    def _pycon(self, block: Block) -> str:
        parsed = doctest.DocTestParser().get_doctest(
            block.code, {}, block.page.name, str(block.page), block.line
        )
        parsed.globs = vars(self.main)
        runner = doctest.DocTestRunner(optionflags=COMPARED, verbose=False)
        output: list[str] = []
        runner.run(parsed, out=output.append, clear_globs=False)
        if runner.failures:
            raise Differs("".join(output))
        return ""

    def _console(self, block: Block) -> str:
        for command, expected in commands(block.code):
            output = shell(command)
            if expected:
                compare(expected, output)
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
                raise Differs(f"no option {unknown}")
            Options.resolve({})
        return ""


async def _awaited(coroutine: types.CoroutineType[object, object, object]) -> None:
    await coroutine


def commands(session: str) -> Iterator[tuple[str, str]]:
    """Yield the commands of a terminal session, each with the output shown."""
    for part in f"\n{session}".split("\n$ ")[1:]:
        lines = part.splitlines()
        length = next(n for n, line in enumerate(lines, 1) if not line.endswith("\\"))
        yield "\n".join(lines[:length]), "\n".join(lines[length:])


def shell(command: str) -> str:
    """Return what a command prints on both streams; `Differs` if it fails."""
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


def compare(expected: str, output: str) -> None:
    """Raise `Differs` if the output is not what a page shows."""
    expected, output = (text.rstrip() + "\n" for text in (expected, output))
    if not doctest.OutputChecker().check_output(expected, output, COMPARED):
        raise Differs(f"the page shows\n{expected}\nit prints\n{output}")


if __name__ == "__main__":
    play(Path(sys.argv[1]), on_the_grid="--on-the-grid" in sys.argv)
