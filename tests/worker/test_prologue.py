"""Failures of the lines before Python, in a log."""

from __future__ import annotations

from dask_gridengine.worker.prologue import BEGINS, FAILED, MOST_LETTERS, failures_in


def test_each_failed_line_has_what_it_printed_itself() -> None:
    """Not the output of lines before it, nor more than fits into a hello."""
    log = (
        f"on node1:\n{BEGINS}echo fine\nfine\n{BEGINS}false\n"
        f"{FAILED}status 1: false\n{BEGINS}noisy\n{'x' * 9999}\n"
        f"{FAILED}status 2: noisy\n"
    )
    first, second = failures_in(log)
    assert first == "status 1: false"
    assert second.startswith("status 2: noisy (xxx")
    assert len(second) == MOST_LETTERS


def test_a_log_without_failures_has_none() -> None:
    """Whatever the program itself writes there."""
    assert failures_in(f"{BEGINS}echo\nprologue\nfailed\n") == []
