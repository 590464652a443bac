"""One honest line while a map runs: who works, who queues, how much is done."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from gridengine.source import Source
from gridengine.tally import Tally

#: Seconds before a bar is shown: what is over by then needs none.
DELAY = 1.0
FORMAT = "{desc}, {percentage:.0f} % done |{bar}| {n_fmt}/{total_fmt}, ETA {remaining}"
FORMAT_ENDLESS = "{desc}, {n_fmt} done, {rate_fmt}"


class Tallied(Protocol):
    """What can say who works on it."""

    def tally(self) -> Tally:
        """Workers there are, shall be, and wait in the queue."""


class Progress:
    """A tqdm bar, or nothing.

    Parameters
    ----------
    place
        Whose workers are told of.
    source
        Whose items are counted.
    wanted
        Whether to show it; None is where somebody looks: on a terminal, in a notebook.
    """

    def __init__(self, place: Tallied, source: Source, wanted: bool | None) -> None:
        self._place, self._source = place, source
        self._wanted = is_interactive() if wanted is None else wanted
        self._wanted = self._wanted and sys.stderr is not None
        self._delay = DELAY if wanted is None else 0.0
        self._started = time.monotonic()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._wanted:
            from tqdm.auto import tqdm

            total = self._source.total
            self._bar = tqdm(
                total=total,
                delay=self._delay,
                bar_format=FORMAT_ENDLESS if total is None else FORMAT,
                desc=str(self._place.tally()),
                dynamic_ncols=True,
                mininterval=0.2,
            )
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def done(self, items: int) -> None:
        """So many more items are done."""
        if self._bar is not None:
            self._bar.update(items)

    def tick(self) -> None:
        """Say anew who works and who queues."""
        if self._bar is not None:
            # tqdm would forget its delay for a new description.
            shown = time.monotonic() - self._started >= self._delay
            self._bar.set_description_str(str(self._place.tally()), refresh=shown)


def is_interactive() -> bool:
    """Whether somebody looks: a terminal, or a notebook's kernel."""
    try:
        if sys.stderr.isatty():
            return True
    except (AttributeError, ValueError):
        pass  # closed, or replaced by something that is no file
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
