"""What usage and errors of libdrmaa tell; the rest of `Library` needs a cell.

See ``tests/grid/test_drmaa_launcher.py``.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dask_gridengine.grid_types import EndNotice, NodeId, NodeRequest
from dask_gridengine.launchers.drmaa.library import (
    APPLICATION_ERROR,
    DELETED,
    UNSTARTED,
    CallFailed,
    Library,
    Unreachable,
    aborted_end,
    end_with_usage,
)
from tests.batch.commands import printing

NODE = NodeId("1", 2)
STARTED = {"start_time": "1795415390.0000", "ru_wallclock": "3.0000"}


def test_usage_has_running_time_and_memory() -> None:
    """The larger of two values for a size; none where there is no number."""
    usage = {**STARTED, "maxvmem": "3284992.0000", "acct_maxvmem": "4284992.0000"}
    end = EndNotice(node=NODE, ran=3.0, address_space=4284992)
    assert end_with_usage(NODE, usage) == end
    usage["maxrss"] = "184320.0000"  # of the Open Cluster Scheduler
    end = EndNotice(node=NODE, ran=3.0, peak_memory=184320, address_space=4284992)
    assert end_with_usage(NODE, usage) == end
    assert end_with_usage(NODE, {}) == EndNotice(node=NODE)
    odd = {"start_time": "0", "ru_wallclock": "NONE", "maxvmem": "nan"}
    assert end_with_usage(NODE, odd) == EndNotice(node=NODE)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"maxvmem": "0.0000"}, {"unstarted": True, "reason": UNSTARTED}),
        (
            {**STARTED, "exit_status": "100.0000"},
            {"unstarted": True, "reason": APPLICATION_ERROR, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "137.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
        (
            {**STARTED, "exit_status": "0.0000"},
            {"deleted": True, "reason": DELETED, "ran": 3.0},
        ),
    ],
)
def test_an_aborted_job_was_deleted_or_never_started(
    usage: dict[str, str], expected: dict[str, Any]
) -> None:
    """A deleted job had a start; with -notify it chooses its exit status."""
    end = aborted_end(end_with_usage(NODE, usage), usage)
    assert end == EndNotice(node=NODE, **expected)


class FakeSlurm(ModuleType):
    """The ``drmaa`` package with a session whose calls fail as slurm-drmaa's do."""

    def __init__(self, text: str) -> None:
        super().__init__("drmaa")
        names = ("DrmCommunication", "DeniedByDrm", "TryLater", "Authorization")
        names += ("InvalidAttributeFormat", "InvalidAttributeValue", "InvalidArgument")
        names += ("InvalidJob", "Internal")
        base = type("DrmaaException", (Exception,), {})
        errors = {f"{n}Exception": type(f"{n}Exception", (base,), {}) for n in names}
        self.errors = SimpleNamespace(DrmaaException=base, **errors)
        self.JobControlAction = SimpleNamespace(TERMINATE="terminate")
        self.text = text
        self.Session = lambda: SimpleNamespace(
            initialize=lambda contact: None,
            drmsInfo="SLURM 22.05.8",
            contact="",
            createJobTemplate=SimpleNamespace,
            deleteJobTemplate=lambda template: None,
            runBulkJobs=self.fail,
            control=self.fail,
        )

    def fail(self, *arguments: object) -> None:
        raise self.errors.InternalException(self.text)


@pytest.mark.parametrize("call", ["submit", "delete"])
@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "code 1: slurm_submit_batch_job error (1800): Unable to contact slurm"
            " controller (connect failure)",
            Unreachable,
        ),
        ("code 1: Out of cheese", CallFailed),
    ],
)
def test_a_controller_that_is_down_is_unreachable(
    call: str,
    text: str,
    error: type[Exception],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where libdrmaa reports it as an internal error, as slurm-drmaa does."""
    monkeypatch.setitem(sys.modules, "drmaa", FakeSlurm(text))
    (tmp_path / "squeue").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    library = Library(None, printing(""))
    request = NodeRequest(name="mine", command=("/bin/true",))
    calls = {
        "submit": partial(library.submit, request, 1),
        "delete": partial(library.delete, "7"),
    }
    with pytest.raises(error):
        calls[call]()
