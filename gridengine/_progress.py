"""The progress bar of a map: how many workers there are, and how much is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

#: Seconds before the bar is shown by default: short maps need none.
DELAY = 1.0
FORMAT = "{desc}, {percentage:.0f} % done |{bar}| {n_fmt}/{total_fmt}, ETA {remaining}"
FORMAT_ENDLESS = "{desc}, {n_fmt} done, {rate_fmt}"


class Progress:
    """A tqdm bar, or nothing; by default (None) on a terminal and in a notebook.

    `describe` returns the text at its left.
    """

    def __init__(
        self, describe: Callable[[], object], total: int | None, wanted: bool | None
    ) -> None:
        self._describe = describe
        self._bar: Any = None
        self._show_at = time.monotonic()
        if sys.stderr is None or not (is_interactive() if wanted is None else wanted):
            return
        from tqdm.auto import tqdm

        delay = DELAY if wanted is None else 0.0
        self._show_at += delay
        self._bar = tqdm(
            total=total,
            delay=delay,
            bar_format=FORMAT_ENDLESS if total is None else FORMAT,
            desc=str(describe()),
            dynamic_ncols=True,
            mininterval=0.2,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def done(self, items: int) -> None:
        """Count items that are done."""
        if self._bar is not None:
            self._bar.update(items)

    def tick(self) -> None:
        """Update the text."""
        if self._bar is not None:
            # tqdm would forget its delay for a new description.
            shown = time.monotonic() >= self._show_at
            self._bar.set_description_str(str(self._describe()), refresh=shown)


def is_interactive() -> bool:
    """Whether standard error is a terminal, or this is the kernel of a notebook."""
    try:
        if sys.stderr.isatty():
            return True
    except (AttributeError, ValueError):
        pass  # closed, or not a file
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
