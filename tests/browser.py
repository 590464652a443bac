"""A headless Chromium, and what it complains about."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium() -> str:
    """The browser's path; without one the test is skipped, loudly."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("NO CHROMIUM, so no page is looked at: apt-get install chromium")


@contextlib.contextmanager
def page(**options: Any) -> Iterator[Any]:
    """A page of it, as `playwright` has them; at the end nothing may be wrong with it.

    Errors in its console, of its scripts and of what it loads fail the test.
    """
    path = chromium()
    sync_api = pytest.importorskip("playwright.sync_api")
    wrong: list[str] = []
    given = {"viewport": {"width": 1400, "height": 900}, **options}
    with sync_api.sync_playwright() as playwright:
        # Chromium's sandbox needs a user that is not root.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        try:
            made = browser.new_page(**given)
            made.on("pageerror", lambda error: wrong.append(str(error)))
            made.on(
                "console",
                lambda line: (
                    wrong.append(line.text)
                    if line.type in ("error", "warning")
                    else None
                ),
            )
            made.on("requestfailed", lambda it: wrong.append(f"not loaded: {it.url}"))
            yield made
        finally:
            browser.close()
    assert wrong == []
