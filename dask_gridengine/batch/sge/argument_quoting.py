"""How a command gets to a node of Grid Engine whole. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping


def one_line(
    command: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    r"""Put a command so that Grid Engine delivers it whole.

    libdrmaa cuts an argument at its first newline and a variable at the second "=",
    silently. Such a command is wrapped in a shell that puts it together again.

    Examples
    --------
    >>> one_line(("sleep", "1"), {"A": "b"})
    (('sleep', '1'), {'A': 'b'})
    >>> one_line(("echo", "a\nb"), {})[0][2]
    'eval "$(printf %b \'exec echo \\0047a\\0012b\\0047\')"'
    """
    cut = {name: value for name, value in environment.items() if "=" in value}
    if not cut and not any("\n" in word for word in command):
        return command, dict(environment)
    exports = [f"export {name}={shlex.quote(value)}" for name, value in cut.items()]
    script = "; ".join([*exports, f"exec {shlex.join(command)}"])
    for letter in ("\\", "\n", "'"):
        script = script.replace(letter, f"\\{ord(letter):04o}")
    kept = {name: value for name, value in environment.items() if name not in cut}
    return ("/bin/sh", "-c", f"""eval "$(printf %b '{script}')\""""), kept
