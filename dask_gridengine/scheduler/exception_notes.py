"""Notes on exceptions: why the workers of a task died.

The scheduler puts them on what it raises, so they reach clients in any process. No
method of a client is wrapped: the wrapper would stand in the traceback of every
exception that the client raises.
"""

from __future__ import annotations

PREFIX = "dask-gridengine: "
#: Seconds to wait for the first word on why a worker died; the node is still ending. Of
#: one that it has killed for its memory, Grid Engine tells 1.2 s later (measured).
PATIENCE = 3.0
LOOK_AGAIN = 0.05


def annotate(exception: BaseException, text: str) -> None:
    """Put our note on an exception, in place of an earlier one of ours."""
    if not text:
        return
    notes = [
        note for note in getattr(exception, "__notes__", []) if PREFIX not in note[:20]
    ]
    # Not add_note(), which Python 3.10 has not; from 3.11 on this is what it does.
    exception.__notes__ = [*notes, PREFIX + text]  # type: ignore[attr-defined]
