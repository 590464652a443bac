"""The user's shell lines before Python, run so that each failed line is named."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence

from dask_gridengine.worker.prologue import BEGINS, ENDED, FAILED, VARIABLE

MAX_TITLE = 200  # letters of a line where it is named
CHECK_SECONDS = 5.0
#: A command that may end the job. An error of "." ends the whole command in some
#: shells, so that the part after "||" is never reached.
_FATAL = re.compile(r"\|\|\s*exit\b")


def shell_lines(prologue: Sequence[str]) -> list[str]:
    """Make shell text that runs these lines, and goes on if one fails.

    The log has the output of a failed line, then a line with its status. ``exit`` ends
    the job, and so does any failure after ``set -e``; then the log's last line names
    the line.
    """
    if not prologue:
        return []
    lines = [f"""trap 'printf "{ENDED}status %s: %s\\n" "$?" "$prologue_line"' EXIT"""]
    for command in commands(prologue):
        first, *more = command.strip().splitlines() or [""]
        title = shlex.quote(first[:MAX_TITLE] + (" ..." if more else ""))
        lines += [
            f"prologue_line={title}; printf '{BEGINS}%s\\n' \"$prologue_line\"",
            # With "command", an error of "." or of the syntax does not end the shell.
            f"command eval {shlex.quote(command)} || {{ prologue_status=$?",
            f'printf \'{FAILED}status %s: %s\\n\' "$prologue_status" "$prologue_line"',
            f"export {VARIABLE}=failed",
            f"case {'e' if _FATAL.search(command) else '$-'} in"
            ' *e*) exit "$prologue_status";; esac; }',
        ]
    return [*lines, "trap - EXIT"]


def hinted(failure: str) -> str:
    """Append what to write instead, where that is known.

    Examples
    --------
    >>> hinted("status 127: source /x.sh (sh: source: not found)")
    "status 127: source /x.sh (sh: source: not found); /bin/sh has only '. FILE'"
    """
    if re.search(r"\bsource: (command )?not found", failure):
        return f"{failure}; /bin/sh has only '. FILE'"
    if re.search(r"\bmodule: (command )?not found", failure):
        return f"{failure}; run '. /etc/profile.d/modules.sh' or its like before"
    return failure


def commands(prologue: Sequence[str]) -> Iterator[str]:
    """Join lines that are one command.

    Examples
    --------
    >>> list(commands(["cd /", "if true; then", "  pwd", "fi"]))
    ['cd /', 'if true; then\\n  pwd\\nfi']
    """
    pending: list[str] = []
    for line in prologue:
        pending.append(line)
        if _is_whole("\n".join(pending)):
            yield "\n".join(pending)
            pending.clear()
    if pending:  # incomplete: the node's shell reports the error
        yield "\n".join(pending)


def _is_whole(text: str) -> bool:
    if text.endswith("\\"):
        return False
    # A here-document without its end would include a following error in its text.
    return _parses(text) and not _parses(f"{text}\n)")


def _parses(text: str) -> bool:
    try:
        return not subprocess.run(
            ["/bin/sh", "-n", "-c", text],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CHECK_SECONDS,
        ).returncode
    except (OSError, ValueError, subprocess.SubprocessError):
        return True
