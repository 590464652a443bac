"""What qacct prints, as a record."""

from __future__ import annotations

import pytest

from dask_gridengine.batch.sge.qacct import parse_account
from dask_gridengine.grid_types import AccountingRecord

RECORD = """\
==============================================================
qname        all.q
hostname     node1
jobname      hostname     x
start_time   Mon Nov 23 06:29:51 2026
failed       {failed}
exit_status  {exit_status}
ru_wallclock {ran}
ru_maxrss    4.562KB
maxvmem      {space}
"""
#: Of the Open Cluster Scheduler 9.2.0prealpha, without the lines that do not matter.
LATER = """\
==============================================================
qname                              all.q
hostname                           node1
start_time                         2026-12-01 00:25:10.006363
failed                             100 : assumedly after job
exit_status                        137
deleted_by                         execd@node1
ru_wallclock                       3
ru_maxrss                          68276
wallclock                          4.076
maxvmem                            1910476800
maxrss                             327983104
"""


def record(
    failed: str = "0",
    exit_status: str = "0",
    ran: str = "0s",
    space: str = "0.000B",
) -> str:
    """A record as qacct prints it, but for many lines that do not matter."""
    return RECORD.format(failed=failed, exit_status=exit_status, ran=ran, space=space)


@pytest.mark.parametrize(
    ("listed", "account"),
    [
        (record(), AccountingRecord("node1", "", 0, 0.0)),
        (
            record("100 : assumedly after job", "137   (Killed)  ", "5s", "1.414MB"),
            AccountingRecord(
                "node1", "100: assumedly after job", 137, 5.0, 0, 1_482_686
            ),
        ),
        (
            record("28  : changing into working directory", "0", "0s", "3.000GB"),
            AccountingRecord(
                "node1", "28: changing into working directory", 0, 0.0, 0, 3 << 30
            ),
        ),
        (
            record("1", "?", "12.5", "2M"),
            AccountingRecord("node1", "1", None, 12.5, 0, 2 << 20),
        ),
        (record("", "", "1:2", "NONE"), AccountingRecord("node1", "", None, None)),
        (
            record("25  : rescheduling") + record(ran="7s"),
            AccountingRecord("node1", "", 0, 7.0),
        ),
        (
            LATER,
            AccountingRecord(
                "node1",
                "100: assumedly after job",
                137,
                3.0,
                peak_memory=327_983_104,
                address_space=1_910_476_800,
            ),
        ),
        ("", None),
        ("error: Job-array tasks 99999.1-1:1 not found", None),
    ],
)
def test_a_record_is_read_as_qacct_prints_it(
    listed: str, account: AccountingRecord | None
) -> None:
    """Also as older and other Grid Engines do; the last run of a job counts."""
    assert parse_account(listed) == account
