"""What a page's update would send to a browser."""

from __future__ import annotations

import json
from typing import Any

from bokeh.document import Document
from bokeh.protocol import Protocol

from dask_gridengine.nodes.history import NodeHistory
from dask_gridengine.views.page import Page


class Shown:
    """A page as a visitor has it, who has seen all that there was."""

    def __init__(self, view: NodeHistory, clock: Any) -> None:
        self.page = Page(view, list, clock=clock)
        self.page.update()
        self.document = Document()
        self.document.add_root(self.page.root)
        self.document.hold("collect")

    def update(self) -> int:
        """Look again; bytes of what is sent."""
        self.page.update()
        return self.sent()

    def sent(self) -> int:
        """Bytes of what is to be sent since this was asked last."""
        events = list(self.document.callbacks._held_events)
        self.document.callbacks._held_events.clear()
        if not events:
            return 0
        patch = Protocol().create("PATCH-DOC", events)
        size = len(json.dumps(patch.content, default=str))
        return size + sum(len(buffer.data) for buffer in patch.buffers)
