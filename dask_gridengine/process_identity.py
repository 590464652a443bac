"""Identify a process, and find out whether it has ended.

A host name and a process id do not identify a process: containers share host names,
each PID namespace has its own ids, and ids are reused. On systems other than Linux
`ProcessIdentity.has_ended` is always False.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """One process of one boot of one machine."""

    boot: str = ""  # the kernel's boot id; "" is unknown
    namespace: str = ""  # of the process id, and of the start time; "" is unknown
    pid: int = 0
    started: int = 0  # clock ticks from the boot; 0 is unknown

    @classmethod
    def of(cls, pid: int | None = None) -> ProcessIdentity:
        """Identify a process of this PID namespace; this process by default."""
        pid = os.getpid() if pid is None else pid
        _, started = _state(pid)
        return cls(boot=_boot(), namespace=_namespace(), pid=pid, started=started)

    @property
    def here(self) -> bool:
        """Whether this process can find out if that one lives."""
        known = self.boot and self.namespace
        return bool(known) and (self.boot, self.namespace) == (_boot(), _namespace())

    def has_ended(self) -> bool:
        """Whether the process has ended; False if that cannot be proved."""
        if not self.here or self.pid <= 0:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's process: compare its start
        state, started = _state(self.pid)
        if not started or not self.started:
            return False
        return started != self.started or state == "Z"


def _boot() -> str:
    with contextlib.suppress(OSError):
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    return ""


def _namespace() -> str:
    """Return the PID and time namespaces; "" if they are unknown."""
    with contextlib.suppress(OSError):
        # In a PID namespace /proc may be that of the parent namespace, with other ids.
        if os.readlink(PROC / "self") != str(os.getpid()):
            return ""
        pid = os.readlink(PROC / "self/ns/pid")
        with contextlib.suppress(OSError):  # Linux 5.6
            return f"{pid} {os.readlink(PROC / 'self/ns/time')}"
        return pid
    return ""


def _state(pid: int) -> tuple[str, int]:
    """Return state and start of a process (``man 5 proc``); ("", 0) if unknown."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
        fields = text.rpartition(")")[2].split()  # a name may hold blanks
        return fields[0], int(fields[19])
    except (OSError, ValueError, IndexError):
        return "", 0
