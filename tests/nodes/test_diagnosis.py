"""The cause from the end notice, the log and the accounting."""

from __future__ import annotations

from typing import Any

import pytest

from dask_gridengine.exit_causes import BY_STATUS, Cause
from dask_gridengine.grid_types import AccountingRecord, EndNotice, NodeId
from dask_gridengine.nodes.diagnosis import (
    diagnose_end,
    diagnose_exit_report,
    last_line,
    process_ended,
)
from tests.samples import exit_report


def end(**fields: Any) -> EndNotice:
    return EndNotice(node=NodeId("3", 1), **fields)


@pytest.mark.parametrize(
    ("notice", "cause"),
    [
        (end(exit_status=0), Cause.FINISHED),
        (end(exit_status=127), Cause.NO_PYTHON),
        (end(exit_status=126), Cause.NO_PYTHON),
        (end(exit_status=73), Cause.NO_LOG),
        (end(exit_status=75), Cause.LOST_CONTACT),
        (end(exit_status=78), Cause.UNREADABLE),
        (end(exit_status=69), Cause.UNREACHABLE),
        (end(exit_status=3), Cause.UNKNOWN),
        (end(signal="SIGKILL"), Cause.KILLED),
        (end(cancelled=True), Cause.CANCELLED),
        (end(cancelled=True, signal="SIGKILL"), Cause.CANCELLED),
        (end(deleted=True, ran=4.0), Cause.DELETED),
        (end(unstarted=True), Cause.NOT_STARTED),
        (end(), Cause.UNKNOWN),
    ],
)
def test_an_end_notice_becomes_a_cause(notice: EndNotice, cause: Cause) -> None:
    """Each kind of end of a node that had sent a hello."""
    assert diagnose_end(notice, started=True).cause is cause


@pytest.mark.parametrize(("status", "cause"), BY_STATUS.items())
@pytest.mark.parametrize("started", [True, False])
def test_a_status_of_ours_is_a_cause(status: int, cause: Cause, started: bool) -> None:
    """With or without a hello; the log has the evidence."""
    diagnosis = diagnose_end(
        end(exit_status=status), "x\non a: no, no\n", started=started
    )
    assert (diagnosis.cause, diagnosis.detail, diagnosis.source) == (
        cause,
        "no, no",
        "exit status",
    )


def test_an_unknown_end_has_all_evidence() -> None:
    """From the notice, the accounting, and the log's last line."""
    account = AccountingRecord(host="node1", failed="100: assumedly after job")
    diagnosis = diagnose_end(
        end(exit_status=3, ran=12.0), "one\ntwo\n", started=True, account=account
    )
    assert diagnosis.detail == (
        "exit status 3 after 12 s; accounting: failed 100: assumedly after job; two"
    )
    assert diagnosis.source == "accounting"


def test_a_hello_changes_the_meaning_of_a_notice() -> None:
    """An end lost in an outage of the grid is no qdel; status 0 alone no success."""
    assert diagnose_end(end(exit_status=0), started=False).cause is Cause.NEVER_ARRIVED
    notice = end(deleted=True)
    assert diagnose_end(notice, started=False).cause is Cause.DELETED
    assert diagnose_end(notice, started=True).cause is Cause.UNKNOWN


@pytest.mark.parametrize(
    ("ran", "cause"),
    [(59.5, Cause.WALLTIME), (61.0, Cause.WALLTIME), (40.0, Cause.KILLED)],
)
def test_the_run_time_shows_a_walltime(ran: float, cause: Cause) -> None:
    """The signal alone says nothing: h_rt and kill -9 look alike."""
    diagnosis = diagnose_end(end(signal="SIGKILL", ran=ran), started=True, walltime=60)
    assert diagnosis.cause is cause
    if cause is Cause.WALLTIME:
        assert "walltime=90" in diagnosis.advice


def test_the_peak_shows_the_grids_memory_limit() -> None:
    """The address space counts; what was in use is named, too."""
    notice = end(
        signal="SIGKILL", ran=5.0, peak_memory=200 * 2**20, address_space=7_900_000_000
    )
    diagnosis = diagnose_end(notice, started=True, memory=8_000_000_000)
    assert diagnosis.cause is Cause.MEMORY
    assert diagnosis.detail.startswith("7.36 GiB of 7.45 GiB")
    assert "address space" in diagnosis.detail
    assert "200 MiB" in diagnosis.detail
    assert "memory='12 GB'" in diagnosis.advice
    assert diagnose_end(notice, started=True).cause is Cause.KILLED, "no limit"


@pytest.mark.parametrize(
    ("ran", "space", "counts", "cause"),
    [
        (25.0, 0, False, Cause.WALLTIME),
        (9.0, 1_910_476_800, True, Cause.MEMORY),
        (9.0, 1_910_476_800, False, Cause.DELETED),
        (9.0, 400_000_000, True, Cause.DELETED),
    ],
)
def test_a_limit_may_look_like_a_deletion(
    ran: float, space: int, counts: bool, cause: Cause
) -> None:
    """As with parallel jobs on the Open Cluster Scheduler; such a node is replaced."""
    notice = end(deleted=True, ran=ran, address_space=space)
    diagnosis = diagnose_end(
        notice,
        started=True,
        walltime=25,
        memory=500_000_000,
        counts_address_space=counts,
    )
    assert diagnosis.cause is cause


def test_the_accounting_fills_in_what_the_notice_lacks() -> None:
    """Time and memory of a node that was killed may stand there only."""
    account = AccountingRecord(host="node1", failed="", ran=60.0)
    diagnosis = diagnose_end(
        end(signal="SIGKILL"), started=True, walltime=60, account=account
    )
    assert diagnosis.cause is Cause.WALLTIME
    account = AccountingRecord(host="node1", failed="", ran=9.0, address_space=2**30)
    diagnosis = diagnose_end(
        end(signal="SIGKILL"), started=True, memory=2**30, account=account
    )
    assert diagnosis.cause is Cause.MEMORY


@pytest.mark.parametrize(
    ("failed", "status", "cause", "detail"),
    [
        ("100: assumedly after job", 137, Cause.KILLED, "by SIGKILL; by the account"),
        ("100: assumedly after job", 143, Cause.KILLED, "by SIGTERM; by the account"),
        ("", 75, Cause.LOST_CONTACT, "last line"),
        ("", 0, Cause.FINISHED, ""),
        ("100: assumedly after job", 1, Cause.UNKNOWN, "accounting: failed 100"),
        ("28: changing into working directory", 0, Cause.UNKNOWN, "failed 28"),
    ],
)
def test_the_accounting_replaces_a_missed_notice(
    failed: str, status: int, cause: Cause, detail: str
) -> None:
    """The grid reports only that the node has ended."""
    account = AccountingRecord(host="node1", failed=failed, exit_status=status, ran=5.0)
    diagnosis = diagnose_end(
        end(deleted=True), "last line\n", started=True, walltime=60, account=account
    )
    assert diagnosis.cause is cause
    assert detail in diagnosis.detail
    assert diagnosis.source == "accounting"
    over = diagnose_end(
        end(signal="SIGTERM", ran=5.0), started=True, walltime=60, account=account
    )
    assert (over.cause, over.source) == (Cause.KILLED, "grid"), "the notice knows best"


def test_a_node_that_could_not_start_has_the_grids_reason() -> None:
    """The accounting's reason, or the notice's where there is none yet."""
    notice = end(unstarted=True, reason="the grid could not start it")
    account = AccountingRecord(
        host="node1", failed="28: changing into working directory"
    )
    first = diagnose_end(notice, started=False)
    later = diagnose_end(notice, started=False, account=account)
    assert (first.source, later.source) == ("grid", "accounting")
    assert "could not start it" in first.detail
    assert "changing into working directory" in later.detail


def test_the_last_line_of_the_log_is_the_evidence() -> None:
    """Without the host before it."""
    log = "on node1:\nnoise\nsh: 1: exec: nopy: not found\n"
    diagnosis = diagnose_end(end(exit_status=127), log, started=False)
    assert diagnosis.detail == "sh: 1: exec: nopy: not found"
    assert last_line("on node1: no route to host\n\n") == "no route to host"
    assert last_line("") == ""


@pytest.mark.parametrize(
    ("cause", "detail", "expected"),
    [
        (Cause.FINISHED, "", Cause.FINISHED),
        (Cause.FINISHED, "worker-lifetime-reached", Cause.LIFETIME),
        *(
            (Cause.FINISHED, reason, Cause.LOST_CONTACT)
            for reason in (
                "worker-handle-scheduler-connection-broken",
                "worker-heartbeat-missing",
                "worker-heartbeat-error",
                "nanny-unregister-failed",
            )
        ),
        (Cause.DRAINED, "worker-heartbeat-missing", Cause.DRAINED),
        (Cause.FINISHED, "scheduler-remove-worker", Cause.FINISHED),
        (Cause.DRAINED, "SIGUSR1", Cause.DRAINED),
        (Cause.NO_IMPORT, "ModuleNotFoundError: numpy", Cause.NO_IMPORT),
    ],
)
def test_an_exit_report_becomes_a_cause(
    cause: Cause, detail: str, expected: Cause
) -> None:
    """The worker's reason of its end makes the difference."""
    diagnosis = diagnose_exit_report(exit_report(cause=cause.value, detail=detail))
    assert diagnosis.cause is expected
    assert diagnosis.source == "exit report"


@pytest.mark.parametrize(
    ("signal", "status", "says"),
    [
        ("SIGSEGV", None, "faulthandler"),
        (None, 3, "os._exit"),
        ("SIGKILL", None, "a limit of the grid"),
    ],
)
def test_how_a_worker_process_ended_gives_the_advice(
    signal: str | None, status: int | None, says: str
) -> None:
    """A crash, an exit and a kill have different advice."""
    assert says in process_ended(signal, status).sentence("it")


def test_threads_that_cannot_start_are_explained() -> None:
    """With h_vmem, the limit of a thread's stack is the reason, not the cause (D12)."""
    killed = diagnose_end(
        end(signal="SIGABRT"),
        "on node1:\nResource temporarily unavailable (src/thread.cpp:241)\n",
        started=True,
    )
    error = "RuntimeError: can't start new thread"
    reported = diagnose_exit_report(exit_report(cause="could not start", detail=error))
    for diagnosis in (killed, reported):
        assert "h_stack" in diagnosis.sentence("it")
    assert "h_stack" not in diagnose_end(end(signal="SIGABRT"), started=True).advice
