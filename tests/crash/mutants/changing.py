"""Bugs in what moves an instance: versions, grants and options."""

from __future__ import annotations

from inspect import signature
from typing import Any

from msgspec.structs import replace

from ropewalk.answers.secrets import OptionsReader
from ropewalk.answers.tasks import new_id
from ropewalk.service.releasing import Releases
from ropewalk.service.rolling_out import RollOut, upgrade_of
from ropewalk.service.service import Service
from ropewalk.storage.records import Rank
from ropewalk.storage.sqlite import options, scheduling, storage, upgrading
from tests.crash.mutants.planting import mutant, put


@mutant
def options_are_told_twice() -> None:
    """A change of options queues its hook two times."""
    change = options.change_options

    def changing(tx: Any, new: Any) -> None:
        change(tx, new)
        if new.hook is not None:
            state = scheduling.load(tx, new.instance)
            scheduling.add_execution(tx, state, replace(new.hook, id=new_id()))
            scheduling.save(tx, state, new.at)

    put(options, change_options=changing)


@mutant
def options_are_told_apart_from_their_change() -> None:
    """The hook of a change of options is queued in a transaction of its own, after that of the change."""
    change = storage.SqliteStorage.change_options

    async def changing_in_two(self: storage.SqliteStorage, new: Any) -> None:
        await change(self, replace(new, hook=None))
        if new.hook is not None:
            await self.enqueue(new.hook)

    put(storage.SqliteStorage, change_options=changing_in_two)


@mutant
def old_options_stay_in_force() -> None:
    """A node keeps the options that it has read of an instance first."""
    read = OptionsReader.read
    known: dict[str, Any] = {}

    async def reading(self: OptionsReader, instance: Any, manifest: Any) -> Any:
        if instance.id not in known:
            known[instance.id] = await read(self, instance, manifest)
        return known[instance.id]

    put(OptionsReader, read=reading)


@mutant
def a_grant_is_forgotten() -> None:
    """A grant is written down in one transaction, and its upgrade queued in another."""
    grant = storage.SqliteStorage.grant

    async def granting_in_two(self: storage.SqliteStorage, version: int, execution: Any) -> None:
        await self._write(lambda tx: tx.run("UPDATE instances SET awaiting = NULL WHERE id = ?", (execution.instance,)))
        await self._write(lambda tx: tx.run("UPDATE instances SET awaiting = ? WHERE id = ?", (version, execution.instance)))
        await grant(self, version, execution)

    put(storage.SqliteStorage, grant=granting_in_two)


@mutant
def nobody_has_to_grant() -> None:
    """A version that asks for more is offered as if it had been granted."""
    offer = RollOut._offer

    async def offering(self: RollOut, version: Any, behind: Any) -> Any:
        return replace(await offer(self, version, behind), execution=upgrade_of(behind.instance, self._clock))

    put(RollOut, _offer=offering)


@mutant
def a_rollback_mixes_versions() -> None:
    """What is gone back to has the older version's files and the newer one's manifest."""
    rollback = Releases.rollback

    async def rolling_back(self: Any, twist: Any, number: int | None, **how: Any) -> Any:
        latest = await self._storage.version(twist.id)
        assert latest is not None

        async def describe(*_: Any) -> Any:
            return latest.manifest

        vars(self)["describe"] = describe
        try:
            return await rollback(self, twist, number, **how)
        finally:
            del vars(self)["describe"]

    put(Releases, rollback=rolling_back)


@mutant
def a_deploy_that_was_killed_is_not_gone_on_with() -> None:
    """Nodes leave it to the next deploy to offer what the last one did not come to offer."""
    roll_out = Service.roll_out
    unasked: Any = signature(roll_out).parameters["tell"].default

    async def rolling_out(self: Service, tell: Any = unasked) -> Any:
        return {} if tell is unasked else await roll_out(self, tell)

    put(Service, roll_out=rolling_out)


@mutant
def an_upgrade_holds_nothing_up() -> None:
    """Other executions run while an upgrade is in back-off."""
    reach = scheduling._reach

    def reaching(state: Any) -> Any:
        return Rank.ORDINARY if state.status == "active" and state.target_version is not None else reach(state)

    put(scheduling, _reach=reaching)


@mutant
def an_upgrade_moves_the_instance_before_it_has_run() -> None:
    """The instance is in the new version from the offer on, whatever becomes of its upgrade."""
    upgrade = upgrading._upgrade

    def upgrading_at_once(tx: Any, state: Any, version: int, new: Any) -> bool:
        done = upgrade(tx, state, version, new)
        state.version = version
        scheduling.save(tx, state, new.at)
        return done

    put(upgrading, _upgrade=upgrading_at_once)
