"""What an update of the page would send to a browser."""

from __future__ import annotations

import json
from typing import Any

from bokeh.document import Document
from bokeh.protocol import Protocol

from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.views.page import Page


class Shown:
    """The page of a visitor who has seen all nodes there are."""

    def __init__(self, history: NodeHistory, clock: Any) -> None:
        self.page = Page(history, list, clock=clock)
        self.page.update()
        self.document = Document()
        self.document.add_root(self.page.root)
        self.document.hold("collect")

    def update(self) -> int:
        """Update the page; return the bytes to send."""
        self.page.update()
        return self.sent()

    def sent(self) -> int:
        """Return the bytes to send since the last call."""
        events = list(self.document.callbacks._held_events)
        self.document.callbacks._held_events.clear()
        if not events:
            return 0
        patch = Protocol().create("PATCH-DOC", events)
        size = len(json.dumps(patch.content, default=str))
        return size + sum(len(buffer.data) for buffer in patch.buffers)
