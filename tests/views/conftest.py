"""Tests of views may be coroutines."""

from __future__ import annotations

from tests.loops import pytest_pyfunc_call as pytest_pyfunc_call
