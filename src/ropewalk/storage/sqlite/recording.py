"""Records of attempts: what each said and was told, sealed, kept for a while and up to so many bytes of an instance.

A record is written with the settlement of its attempt, in its transaction: an attempt that was lost with its node has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from ropewalk.clock import Micros
from ropewalk.storage.records import Settlement
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.driver import Row
from ropewalk.storage.sqlite.rows import InstanceState

RECORDED: Final = """
    SELECT r.attempt FROM executions e CROSS JOIN records r ON r.instance = e.instance AND r.execution = e.n
    WHERE e.id = ? ORDER BY r.attempt
    """

RECORD: Final = """
    SELECT r.content FROM executions e CROSS JOIN records r ON r.instance = e.instance AND r.execution = e.n
    WHERE e.id = ? AND r.attempt = ?
    """

_KEEP: Final = "INSERT INTO records (instance, execution, attempt, at, content) VALUES (?, ?, ?, ?, ?)"

_OLDEST: Final = """
    DELETE FROM records WHERE n = (
        SELECT n FROM records INDEXED BY records_attempt WHERE instance = ? ORDER BY execution, attempt LIMIT 1
    ) RETURNING length(content)
    """

_OF_EXECUTION: Final = "DELETE FROM records WHERE instance = ? AND execution = ? RETURNING instance, length(content)"

_OLD: Final = """
    DELETE FROM records WHERE n IN (SELECT n FROM (SELECT n, at FROM records ORDER BY n LIMIT ?) WHERE at < ?)
    RETURNING instance, length(content)
    """

_MOST_DROPPED: Final = 16
"""Records that one may push out: more than it takes when they are about as large, and few enough not to hold a settlement up."""


def keep_record(tx: Transaction, state: InstanceState, execution: int, settlement: Settlement) -> None:
    """Keep the record that came with a settlement, if one did, and drop the instance's oldest when it has too much of them."""
    content = settlement.record
    if content is None:
        return
    tx.run(_KEEP, (state.id, execution, settlement.attempt.number, settlement.at, content))
    state.record_bytes += len(content)
    for _ in range(_MOST_DROPPED):
        if state.record_bytes <= tx.limits.record_bytes:
            return
        state.record_bytes -= sum(size for (size,) in tx.rows(_OLDEST, (state.id,)))


def drop_records(tx: Transaction, executions: Iterable[tuple[str, int]]) -> None:
    """Drop all records of executions, given by their instance and number."""
    _no_longer_kept(tx, [row for execution in executions for row in tx.rows(_OF_EXECUTION, execution)])


def forget_records(tx: Transaction, limit: int, before: Micros) -> int:
    """Remove up to `limit` records of attempts that were over before a time; returns how many there were."""
    removed = tx.rows(_OLD, (limit, before))
    _no_longer_kept(tx, removed)
    return len(removed)


def _no_longer_kept(tx: Transaction, removed: Sequence[Row]) -> None:
    freed: Counter[str] = Counter()
    for instance, size in removed:
        freed[instance] += size
    tx.run_many("UPDATE instances SET record_bytes = record_bytes - ? WHERE id = ?", [(size, id_) for id_, size in freed.items()])
