"""Accounting records of ended nodes, from ``qacct``."""

from __future__ import annotations

import re

from dask_gridengine.batch.commands import Runner
from dask_gridengine.grid_types import AccountingRecord, NodeId


def account(node: NodeId, run: Runner) -> AccountingRecord | None:
    """Return the accounting record of a node; raise what `run` raises."""
    return parse_account(run(["qacct", "-j", node.job, "-t", str(node.index)]))


def parse_account(listing: str) -> AccountingRecord | None:
    """Parse the last record that ``qacct -j`` prints: a job run again has several."""
    record = re.split(r"^=+$", listing, flags=re.MULTILINE)[-1]
    fields = dict(re.findall(r"^(\w+)[ \t]+(.*?)[ \t]*$", record, re.MULTILINE))
    if "hostname" not in fields:
        return None
    status = re.match(r"\d+", fields.get("exit_status", ""))
    ran = re.fullmatch(r"([\d.]+)s?", fields.get("ru_wallclock", ""))
    return AccountingRecord(
        host=fields["hostname"],
        failed=_failed(fields.get("failed", "")),
        exit_status=int(status[0]) if status else None,
        ran=_float(ran[1]) if ran else None,
        # Son of Grid Engine 8.1.9 has no maxrss, and its ru_maxrss is of one process.
        peak_memory=_bytes(fields.get("maxrss", "")),
        address_space=_bytes(fields.get("maxvmem", "")),
    )


def _failed(text: str) -> str:
    found = re.match(r"(\d+)(?:\s*:\s*(.*))?", text)
    if not found or int(found[1]) == 0:
        return ""
    return f"{found[1]}: {found[2]}" if found[2] else found[1]


def _bytes(text: str) -> int:
    """Parse a size as qacct prints it, "1.414MB" or "1.414M", in powers of 1024."""
    found = re.fullmatch(r"([\d.]+)\s*([KMGTP]?)B?", text, re.IGNORECASE)
    if not found:
        return 0
    unit: int = 1 << 10 * " KMGTP".index(found[2].upper() or " ")
    return round((_float(found[1]) or 0) * unit)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
