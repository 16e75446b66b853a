"""Tells the owner of an instance of executions that failed for good, in the transaction in which they do. The rules are `storage.deaths`'."""

from __future__ import annotations

from typing import Final
from uuid import uuid4

from msgspec.structs import replace

from ropewalk.clock import Micros
from ropewalk.storage.budgets import owners_note
from ropewalk.storage.deaths import WINDOW, Deaths, counted, read_deaths, text, title, write_deaths
from ropewalk.storage.records import ErrorInfo, Rank
from ropewalk.storage.sqlite import workspace
from ropewalk.storage.sqlite.committer import Transaction
from ropewalk.storage.sqlite.rows import InstanceState

_METHOD: Final = "SELECT target_ns, method FROM executions WHERE n = ?"

_TOLD: Final = """
    SELECT told FROM owners_notes o WHERE instance = ? AND since > ? AND since <= ?
    AND EXISTS (SELECT 1 FROM activities a JOIN notes n ON n.activity = a.id WHERE a.id = o.activity AND a.done_at IS NULL)
    """

_TELL: Final = """
    INSERT INTO owners_notes (instance, activity, since, told) VALUES (?, ?, ?, ?)
    ON CONFLICT DO UPDATE SET activity = excluded.activity, since = excluded.since, told = excluded.told
    """

_TOLD_OF: Final = frozenset({"dead", "failed"})


def tell_of_failure(
    tx: Transaction,
    state: InstanceState,
    number: int,
    execution: str,
    rank: int,
    status: str,
    error: ErrorInfo | None,
    at: Micros,
) -> None:
    """Tell the owner that an execution is `status`, if that is a failure for good of which nobody else is told who waits for it."""
    if status not in _TOLD_OF or rank == Rank.WAITED_FOR or error is None:
        return
    ns, method = tx.rows(_METHOD, (number,))[0]
    told: bytes | None = tx.value(_TOLD, (state.id, at - WINDOW, at))
    before = None if told is None else read_deaths(told)
    called = f"{ns}.{method}" if ns else method
    if before is None:
        now = counted(Deaths(activity=str(uuid4()), note=str(uuid4()), since=at), called, execution, error)
        activity, note = owners_note(title(now, state.twist_name), text(now, state.id), state.priority, at)
        workspace.put_activity(tx, replace(activity, id=now.activity), twist=None, instance=state.id)
        workspace.put_note(tx, replace(note, id=now.note, activity=now.activity))
    else:
        now = counted(before, called, execution, error)
        workspace.change_activity(tx, now.activity, {"title": title(now, state.twist_name), "unread": True, "updated_at": at})
        workspace.change_note(tx, now.note, {"content": text(now, state.id)})
    tx.run(_TELL, (state.id, now.activity, now.since, write_deaths(now)))
