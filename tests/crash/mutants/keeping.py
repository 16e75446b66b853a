"""Bugs in what is kept, and in the order in which it runs."""

from __future__ import annotations

from typing import Any

from ropewalk.answers import interface
from ropewalk.clock import Micros
from ropewalk.dispatch.dispatcher import Dispatcher
from ropewalk.service import membership
from ropewalk.storage.interface import Fenced
from ropewalk.storage.records import Enqueue
from ropewalk.storage.sqlite import (
    committer,
    deliveries,
    effects,
    executions,
    lifecycle,
    nodes,
    recurring,
    rows,
    scheduling,
    settling,
    storage,
    upkeep,
)
from ropewalk.storage.sqlite.attempts import Running
from ropewalk.storage.sqlite.rows import InstanceState
from tests.crash.mutants.planting import mutant, put, reword


@mutant
def acknowledged_before_it_is_committed() -> None:
    """Callers hear that their write is durable when its verb has run."""
    tried = committer.Committer._try_verbs

    def trying(self: committer.Committer, group: Any) -> bool:
        well = tried(self, group)
        if well:
            self._tell_loop(self._wake, group)
        return well

    put(committer.Committer, _try_verbs=trying)


@mutant
def nothing_is_synced() -> None:
    """Commits are handed to the system and not to the disk: the power takes them."""
    began = committer.Committer._begin

    def begin(self: committer.Committer, *, promised: bool) -> None:
        began(self, promised=False)

    put(committer.Committer, _begin=begin)


@mutant
def leases_that_were_lost_are_not_noticed() -> None:
    """A settlement goes to whatever runs under the lease now, and the node does not end what it claims once more."""
    original = settling._HOLDER

    def holder(tx: Any, instance: str, _epoch: int, _execution: str) -> Any:
        row = tx.row(original, (instance,))
        if row is None:
            raise Fenced("nothing runs")
        count = settling._STATE_COLUMNS
        return InstanceState(*row[:count]), Running(*row[count:])

    put(settling, lease_holder=holder)
    put(Dispatcher, _fence=lambda *_: None)


@mutant
def tasks_are_stored_before_the_settlement() -> None:
    """What a method asks for is a transaction of its own."""
    settle = storage.SqliteStorage.settle

    async def settling_in_two(self: storage.SqliteStorage, settlement: Any) -> Any:
        from msgspec.structs import replace

        tasks = [effect for effect in settlement.effects if isinstance(effect, Enqueue)]
        for task in tasks:
            await self.enqueue(task.execution)
        rest = [effect for effect in settlement.effects if not isinstance(effect, Enqueue)]
        return await settle(self, replace(settlement, effects=rest))

    put(storage.SqliteStorage, settle=settling_in_two)


@mutant
def failures_are_not_counted() -> None:
    """The count of attempts is lost with each back-off."""
    reword(settling, "_RETRY", "tries = tries + ?", "tries = 0 * ?")


@mutant
def a_key_is_held_after_the_start() -> None:
    """A second task of a key replaces the first though that has begun."""
    reword(scheduling, "_KEYED", "attempt = 0 AND", "")


@mutant
def nothing_wakes_after_a_back_off() -> None:
    """The end of a back-off is no timer of the instance."""
    back_off = settling._back_off

    def backing_off(tx: Any, state: Any, running: Any, settlement: Any) -> None:
        back_off(tx, state, running, settlement)
        tx.run("UPDATE executions SET due = NULL WHERE n = ?", (running.n,))

    put(settling, _back_off=backing_off)


@mutant
def leases_of_dead_nodes_stay() -> None:
    """Whoever comes after a killed node does not bury it."""

    async def bury(self: membership.Membership) -> int:
        return 0

    put(membership.Membership, bury_the_dead=bury)


@mutant
def a_leased_instance_is_claimed() -> None:
    """What runs does not keep its instance from being claimed again."""
    original = scheduling.wake_time

    def wake(tx: Any, state: Any, at: Micros) -> Micros | None:
        running, state.running = state.running, None
        try:
            return original(tx, state, at)
        finally:
            state.running = running

    put(scheduling, wake_time=wake)


@mutant
def events_run_after_deactivation() -> None:
    """Deactivation neither cancels what waits nor keeps it from running once it is over."""
    put(lifecycle, cancel_some=lambda *_: (0, 0))
    put(rows, RESTING=frozenset({"failed", "erased"}))


@mutant
def committed_parts_are_kept_for_the_settlement() -> None:
    """What `commit()` made durable is applied once more at the end."""
    put(interface.Session, committed=lambda self: None)


@mutant
def the_last_is_first() -> None:
    """What became ready last runs first."""
    reword(scheduling, "_NEXT", "ORDER BY rank, seq", "ORDER BY rank, seq DESC")


@mutant
def erasing_forgets_the_callbacks() -> None:
    """Something of a deactivated instance stays for ever."""
    put(upkeep, _ERASE=upkeep._ERASE[:1])


@mutant
def a_lost_node_is_the_events_fault() -> None:
    """An event whose node was killed is set aside."""
    put(nodes, LOST_FOR_GOOD=1)


@mutant
def a_delivery_is_taken_twice() -> None:
    """What was delivered before is delivered again."""
    reword(deliveries, "_FIRST", "d.delivery = ?", "d.delivery = 'not ' || ?")
    reword(deliveries, "_KEEP", "INSERT INTO", "INSERT OR REPLACE INTO")


@mutant
def what_recurs_is_not_armed_again() -> None:
    """A tick makes its run and leaves its time where it was."""
    reword(recurring, "_TURNED", "SET next = ?", "SET next = next + 0 * ?")


@mutant
def cancelling_leaves_the_count() -> None:
    """A cancelled execution counts as pending on."""

    def cancel(tx: Any, state: Any, number: int, size: int, at: Micros) -> None:
        tx.run(scheduling._CANCEL, (at, number))

    for module in (scheduling, executions, effects):
        put(module, cancel_waiting=cancel)


@mutant
def half_of_a_failure_is_kept() -> None:
    """What a method did before it failed is stored all the same."""
    from ropewalk.dispatch import settling as ending

    made = ending.Settler._settlement

    def settlement(self: Any, outcome: Any, policy: Any, *, claim_next: bool) -> Any:
        from msgspec.structs import replace

        found = made(self, outcome, policy, claim_next=claim_next)
        return found if found.effects else replace(found, effects=outcome.effects)

    put(ending.Settler, _settlement=settlement)
