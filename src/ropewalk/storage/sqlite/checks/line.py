"""The executions of an instance: each that waits has a place in line or a time, none else has, and the line is in order."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from typing import Final

from msgspec import Struct

from ropewalk.clock import Micros
from ropewalk.storage.records import ErrorInfo, Rank
from ropewalk.storage.sqlite.checks.faults import Checking, Fault
from ropewalk.storage.sqlite.checks.scene import INTO_LINE, Scene
from ropewalk.storage.sqlite.rows import error_text
from ropewalk.storage.sqlite.scheduling import WAITING

_ARGUMENTS_LOST: Final = """
    ((e.arguments IS NULL OR e.event IS NULL) AND NOT EXISTS (SELECT 1 FROM payloads WHERE execution = e.n))
    OR (e.trigger = 'webhook' AND e.event = x'5b5d' AND EXISTS (SELECT 1 FROM deliveries WHERE execution = e.n AND size > 0))
    """

_MISPLACED: Final = """
    e.rank NOT BETWEEN 0 AND 4 OR (e.trigger IN ('activate', 'upgrade') AND e.rank <> 1) OR (e.trigger = 'deactivate' AND e.rank <> 0)
    """

STRAY: Final = f"""
    CASE
        WHEN e.status IN ('queued', 'retrying')
            THEN (e.seq IS NULL) = (e.due IS NULL) OR e.finished_at IS NOT NULL OR {_MISPLACED} OR {_ARGUMENTS_LOST}
        WHEN e.status = 'running' THEN i.running IS NOT e.n OR e.seq IS NOT NULL OR e.due IS NOT NULL OR e.finished_at IS NOT NULL
        WHEN e.status IN ('succeeded', 'failed', 'dead', 'cancelled')
            THEN e.seq IS NOT NULL OR e.due IS NOT NULL OR e.finished_at IS NULL
        ELSE 1
    END
    """
"""Whether an execution `e` of an instance `i` looks out of step."""


class _Stray(Struct, frozen=True):
    """An execution that looked out of step."""

    number: int
    id: str
    status: str
    rank: int
    trigger: str
    seq: int | None
    due: Micros | None
    finished_at: Micros | None
    misplaced: bool
    lost: bool


_FIND: Final = f"""
    SELECT n, id, status, rank, trigger, seq, due, finished_at, {_MISPLACED}, {_ARGUMENTS_LOST} FROM executions e WHERE n = ? AND instance = ?
    """


def out_of_step(scene: Scene, strays: Collection[int]) -> Checking:
    """Yield what is wrong with executions that looked out of step, each by itself."""
    for number in strays:
        row = scene.tx.row(_FIND, (number, scene.state.id))
        if row is not None:
            stray = _Stray(*row)
            for fault in _waiting(scene, stray) if stray.status in ("queued", "retrying") else _not_waiting(scene, stray):
                fault.execution = stray.id
                yield fault


_OUT_OF_LINE: Final = "UPDATE executions SET seq = NULL, due = NULL WHERE n = ?"

_DEAD: Final = "UPDATE executions SET status = 'dead', seq = NULL, due = NULL, finished_at = ?, error = ? WHERE n = ?"

_LOST_ARGUMENTS: Final = ErrorInfo(type="lost_arguments", message="what it was to be called with got lost")

_RANKS: Final = {"activate": Rank.BARRIER, "upgrade": Rank.BARRIER, "deactivate": Rank.DEACTIVATE}


def _waiting(scene: Scene, stray: _Stray) -> Iterator[Fault]:
    tx, state = scene.tx, scene.state
    whose = f"execution {stray.id} of instance {state.id}"

    def end() -> None:
        tx.run("UPDATE executions SET arguments = ?, event = ? WHERE n = ?", (b"[[],{}]", b"[]", stray.number))
        tx.run(_DEAD, (scene.at, error_text(_LOST_ARGUMENTS), stray.number))
        tx.run("UPDATE deliveries SET size = 0, place = 0 WHERE execution = ?", (stray.number,))
        state.held = None if state.held == stray.number else state.held

    if stray.lost:
        yield Fault("execution_without_arguments", f"{whose} waits, and its arguments are not there", "it is dead", end)
        return
    if (stray.seq is None) == (stray.due is None):
        what = "without a time or a place in line" if stray.seq is None else "with both a time and a place in line"
        yield Fault("waiting_without_place", f"{whose} is {stray.status} {what}", "it is ready", partial(_ready, scene, stray))
    if stray.misplaced:
        yield Fault(
            "wrong_rank",
            f"{whose} waits to {stray.trigger} in rank {stray.rank}, where nothing of that kind waits",
            "it is put where it belongs",
            partial(
                tx.run, "UPDATE executions SET rank = ? WHERE n = ?", (_RANKS.get(stray.trigger, Rank.ORDINARY), stray.number)
            ),
        )
    if stray.finished_at is not None:
        yield Fault(
            "waiting_but_over",
            f"{whose} is {stray.status}, and has the time of an end: it would be forgotten",
            "it has none",
            partial(tx.run, "UPDATE executions SET finished_at = NULL WHERE n = ?", (stray.number,)),
        )


def _not_waiting(scene: Scene, stray: _Stray) -> Iterator[Fault]:
    tx, state = scene.tx, scene.state
    whose = f"execution {stray.id} of instance {state.id}"
    into_line = partial(_ready, scene, stray)
    if stray.status not in ("running", "succeeded", "failed", "dead", "cancelled"):
        yield Fault("unknown_execution_status", f"{whose} is {stray.status!r}, which is no status", "it is ready", into_line)
        return
    if stray.status == "running" and state.running != stray.number:
        yield Fault("running_without_lease", f"{whose} is running without a lease", "it is ready again", into_line)
        return
    if stray.seq is not None or stray.due is not None:
        yield Fault(
            "over_but_in_line",
            f"{whose} is {stray.status} and stands in line all the same",
            "it leaves the line",
            partial(tx.run, _OUT_OF_LINE, (stray.number,)),
        )
    if (stray.status == "running") != (stray.finished_at is None):
        yield Fault(
            "over_without_end",
            f"{whose} is {stray.status}, and when it ended does not say so",
            "it says so",
            partial(
                tx.run,
                "UPDATE executions SET finished_at = ? WHERE n = ?",
                (None if stray.status == "running" else scene.at, stray.number),
            ),
        )


def _ready(scene: Scene, stray: _Stray) -> None:
    """Have an execution be ready now."""
    scene.tx.run(INTO_LINE, (scene.state.take_seq(), scene.at, stray.number))


# ── The line ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def line(scene: Scene) -> Checking:
    """Yield what is wrong with the order of what waits."""
    tx, state = scene.tx, scene.state
    last = tx.value(_LAST_PLACE, (state.id,))
    if last is not None and last >= state.next_seq:

        def go_on() -> None:
            state.next_seq = last + 1

        yield Fault(
            "places_given_twice", f"instance {state.id} would give places in line that are taken", "it goes on after them", go_on
        )
    if (
        state.held is not None
        and tx.value(f"SELECT 1 FROM executions WHERE n = ? AND instance = ? AND {WAITING}", (state.held, state.id)) is None
    ):

        def let_go() -> None:
            state.held = None

        yield Fault(
            "held_by_nothing", f"instance {state.id} waits for an execution that does not wait itself", "it waits no more", let_go
        )
    for number, id_, size, key in tx.rows(_KEY_HELD_TWICE, (state.id,)):
        yield Fault(
            "key_held_twice",
            f"execution {id_} of instance {state.id} waits under the key {key!r}, which a later one holds",
            "it is cancelled, as when it was replaced",
            partial(scene.cancel, number, size),
            execution=id_,
        )


_LAST_PLACE: Final = "SELECT max(seq) FROM executions INDEXED BY executions_ready WHERE instance = ? AND seq IS NOT NULL"

_KEY_HELD_TWICE: Final = f"""
    SELECT e.n, e.id, e.size, e.key FROM executions e INDEXED BY executions_keys JOIN (
        SELECT ns, key, max(n) AS holder FROM executions INDEXED BY executions_keys
        WHERE instance = ?1 AND key IS NOT NULL AND attempt = 0 AND {WAITING} GROUP BY ns, key HAVING count(*) > 1
    ) h ON h.ns = e.ns AND h.key = e.key
    WHERE e.instance = ?1 AND e.key IS NOT NULL AND e.attempt = 0 AND (e.seq IS NOT NULL OR e.due IS NOT NULL) AND e.n <> h.holder
    """
