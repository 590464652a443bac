"""What a probed node tells: written on the node, read by the doctor."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

SETTINGS_NAME = "probe.json"  # what the node reads, in the log directory
LONGEST = 60_000  # bytes of a report


@dataclass(kw_only=True)
class NodeReport:
    """One node's, as far as it got. Errors are clauses; "" is none.

    Times are seconds, sizes bytes.
    """

    job: str = ""
    index: int = 0
    host: str = ""
    step: str = ""  # what it is at; "done" at the end
    executable: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    package: str = ""  # where dask_gridengine was imported from
    queue: str = ""
    slots: int = 0
    memory: int = 0  # that the grid's limits leave it; 0 is no limit
    age: float = 0.0  # at the report's beginning
    clock: float = 0.0  # the node's time when this was written
    connection: str = ""  # error of reading the connection file
    tried: dict[str, str] = field(default_factory=dict)  # address to its answer
    via: str = ""  # the door's address that answered
    curve: float | None = None  # of a hello and its answer
    curve_error: str = ""
    imported: float | None = None  # of Dask and our worker
    import_error: str = ""
    scheduler: str = ""  # where TLS was tried
    tls: float | None = None  # of connection, handshake and a message and its answer
    tls_error: str = ""
    ahead: float | None = None  # of our clock, by TLS; negative is behind
    ahead_give: float = 0.0  # half the round trip: the clock is known no better
    listening: str = ""  # where we were asked to knock
    back: str = ""  # what that answered; "" was not tried
    scratch: str = ""  # the directory
    scratch_free: int | None = None
    scratch_speed: float | None = None  # bytes a second, written and synchronised
    scratch_error: str = ""

    @classmethod
    def parse(cls, text: str) -> NodeReport | None:
        """Read one; None if this is none, as of a file that is being written."""
        try:
            body = json.loads(text[:LONGEST])
        except ValueError:
            return None
        return cls.of(body) if isinstance(body, Mapping) else None

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> NodeReport | None:
        """One of these fields; None if a value is of another type than it must be."""
        report = cls()
        for known in fields(cls):
            if known.name not in body:
                continue
            value, default = body[known.name], getattr(report, known.name)
            if not _fits(value, default):
                return None
            setattr(report, known.name, value)
        return report

    def text(self) -> str:
        """What `parse` reads."""
        return json.dumps(vars(self))


def _fits(value: object, default: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if default is None:
        return value is None or number
    if isinstance(default, float):
        return number
    if isinstance(default, dict):
        return isinstance(value, dict) and all(
            isinstance(v, str) for v in value.values()
        )
    return type(value) is type(default)
