"""What ``qacct`` prints of a node that has ended. Pure."""

from __future__ import annotations

import re

from dask_gridengine.grid_types import AccountingRecord

_FIELD = re.compile(r"^(\w+)[ \t]+(.*?)[ \t]*$", re.MULTILINE)
_FAILED = re.compile(r"(\d+)(?:\s*:\s*(.*))?")
_SIZE = re.compile(r"([\d.]+)\s*([KMGTP]?)B?", re.IGNORECASE)


def parse_account(listed: str) -> AccountingRecord | None:
    """The last record in what ``qacct -j`` prints: a job run again has several.

    Examples
    --------
    >>> parse_account("hostname node1\\nfailed 28 : changing into working directory")
    AccountingRecord(host='node1', failed='28: changing into working directory', \
exit_status=None, ran=None, peak_memory=0)
    """
    record = re.split(r"^=+$", listed, flags=re.MULTILINE)[-1]
    fields = dict(_FIELD.findall(record))
    if "hostname" not in fields:
        return None
    status = re.match(r"\d+", fields.get("exit_status", ""))
    ran = re.fullmatch(r"([\d.]+)s?", fields.get("ru_wallclock", ""))
    return AccountingRecord(
        host=fields["hostname"],
        failed=_failed(fields.get("failed", "")),
        exit_status=int(status[0]) if status else None,
        ran=_float(ran[1]) if ran else None,
        peak_memory=_bytes(fields.get("maxvmem", "")),
    )


def _failed(text: str) -> str:
    found = _FAILED.match(text)
    if not found or int(found[1]) == 0:
        return ""
    return f"{found[1]}: {found[2]}" if found[2] else found[1]


def _bytes(text: str) -> int:
    """A size as qacct writes it, "1.414MB" or "1.414M", in powers of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        return 0
    unit: int = 1 << 10 * " KMGTP".index(found[2].upper() or " ")
    return round((_float(found[1]) or 0) * unit)


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
