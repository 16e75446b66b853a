"""What recurs of an instance has a next run, and what its version declares to recur does."""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec
from msgspec import Struct

from ropewalk.storage.records import Recurring
from ropewalk.storage.recurrence import NEVER, set_back
from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import Scene
from ropewalk.storage.sqlite.recurring import RECURRING, arm_declared, note_first, recurring_record
from ropewalk.wire.control import ScheduleInfo


class _Schedules(Struct):
    """What of a manifest says which methods recur."""

    schedules: list[ScheduleInfo] = []


_read_schedules = msgspec.json.Decoder(_Schedules).decode

_MANIFEST: Final = "SELECT manifest FROM versions WHERE twist = ? AND number = ?"


def recurring(scene: Scene) -> Checking:
    """Yield what should recur, and will not."""
    tx, state = scene.tx, scene.state
    readable: list[Recurring] = []
    for row in tx.rows(_ALL_RECURRING, (state.id,)):
        try:
            readable.append(recurring_record(row))
        except msgspec.MsgspecError:
            yield Fault(
                "unreadable_recurrence",
                f"when {row[4]} of instance {state.id} is to run again cannot be read",
                "it recurs no more, unless its version declares it or it is asked for again",
                partial(tx.run, "DELETE FROM recurring WHERE id = ?", (row[0],)),
            )
    wanted = _declared(scene)
    armed = set(tx.rows("SELECT ns, key FROM recurring WHERE instance = ? AND declared = 1", (state.id,)))
    if wanted - armed:

        def arm() -> None:
            for number, size in arm_declared(tx, state, scene.at):
                scene.cancel(number, size)

        names = ", ".join(sorted(key for _, key in wanted - armed))
        yield Fault(
            "schedule_not_armed",
            f"version {state.version} of instance {state.id} has {names} run by a schedule that is not there",
            "it is set up again, from now on",
            arm,
        )
    for one in readable:
        nominal = set_back(one.recurrence, one.next, scene.at) if one.next < NEVER else None
        if nominal is not None:
            yield Fault(
                "recurring_too_late",
                f"the next run of {one.key} of instance {state.id} is set for long after it ought to be",
                "it goes on from now",
                partial(tx.run, "UPDATE recurring SET next = ? WHERE id = ?", (nominal, one.id)),
            )
    if state.recurs_at != tx.value("SELECT min(next) FROM recurring WHERE instance = ?", (state.id,)):
        yield Fault(
            "recurring_without_next",
            f"instance {state.id} does not know when the next of its recurring tasks is due",
            "it does",
            lambda: note_first(tx, state),
        )


_ALL_RECURRING: Final = f"SELECT {RECURRING} FROM recurring INDEXED BY recurring_next WHERE instance = ?"


def _declared(scene: Scene) -> set[tuple[str, str]]:
    """Return namespace and key of what the instance's version declares to recur; what cannot be read declares nothing here."""
    state = scene.state
    manifest = scene.tx.value(_MANIFEST, (state.twist, state.version)) if state.status == "active" else None
    try:
        return set() if manifest is None else {(one.ns, one.key) for one in _read_schedules(manifest).schedules}
    except msgspec.MsgspecError:
        return set()
