"""Log lines, as they are kept: beside their execution, in the order written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ropewalk.storage.records import LogLine
from ropewalk.storage.sqlite.committer import Transaction

_KEEP_LOG: Final = "INSERT INTO logs (instance, execution, attempt, time, level, message, fields) VALUES (?, ?, ?, ?, ?, ?, ?)"


def keep_logs(tx: Transaction, instance: str, execution: int, lines: Sequence[LogLine]) -> None:
    """Keep log lines of an execution, in order."""
    if lines:
        rows = [
            (instance, execution, line.attempt, _fitting(line.time), _fitting(line.level), line.message, line.fields)
            for line in lines
        ]
        tx.run_many(_KEEP_LOG, rows)


def _fitting(number: int) -> int:
    """Return a number that a guest chose, as one that can be stored: no line may keep an attempt from settling."""
    return max(-(2**63), min(number, 2**63 - 1))
