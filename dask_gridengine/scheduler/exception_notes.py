"""Notes on exceptions that say why the workers of a task died.

The scheduler adds them, so they reach clients in any process. No method of a client is
wrapped: the wrapper would be in the traceback of every exception that the client
raises.
"""

from __future__ import annotations

PREFIX = "dask-gridengine: "
#: Seconds to wait for a first report on why a worker died. Grid Engine reports a node
#: that it has killed for its memory 1.2 s later (measured).
PATIENCE = 3.0
LOOK_AGAIN = 0.05


def annotate(exception: BaseException, text: str) -> None:
    """Add our note to an exception, in place of an earlier one of ours."""
    if not text:
        return
    notes = [
        note for note in getattr(exception, "__notes__", []) if PREFIX not in note[:20]
    ]
    # Python 3.10 has no add_note(); from 3.11 on this is what it does.
    exception.__notes__ = [*notes, PREFIX + text]  # type: ignore[attr-defined]
