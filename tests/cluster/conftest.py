"""Options of clusters on two slots of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.loops import pytest_pyfunc_call as pytest_pyfunc_call


@pytest.fixture
def options(shared: Path) -> dict[str, Any]:
    """Of a cluster of local processes, without pages."""
    return {
        "launcher": "process",
        "slots": 2,
        "shared_directory": shared,
        "scheduler_options": {"dashboard_address": ":0", "dashboard": False},
        "quiet": True,
    }
