"""What commands and nodes ask of a database's instances; new versions are in `releasing`. The only place that names the concrete backends."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator

from ropewalk.answers.secrets import seal_secrets
from ropewalk.answers.tasks import new_id
from ropewalk.clock import SystemClock
from ropewalk.service.config import Settings
from ropewalk.service.database import Database
from ropewalk.service.deploying import check_options
from ropewalk.service.gate import BreaksLive, breakages
from ropewalk.service.options import Chosen
from ropewalk.service.packages import Tell
from ropewalk.service.rolling_out import RolledOut, RollOut
from ropewalk.storage.interface import DoesNotApply
from ropewalk.storage.pace import Pace
from ropewalk.storage.records import (
    Delivery,
    Execution,
    Instance,
    NewExecution,
    NewInstance,
    Rank,
    StorageLimits,
    Suspension,
    Version,
)
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.messages import Target, Trigger


class Service(Database):
    """One process's way to a database: what is asked of instances, and of all else in it."""

    async def activate(self, version: Version, priority: str, options: Chosen) -> tuple[str, str]:
        """Make an instance and queue its `activate`; returns the ids of both.

        Raises:
            DoesNotApply: there is no such priority.
            InvalidValue: the options give a tool what it cannot take.
            VaultError: there are secrets among them, and they cannot be sealed.
        """
        check_options(version.manifest, options.json)
        if await self.storage.priority(priority) is None:
            raise DoesNotApply(f"there is no priority {priority!r}: `ropewalk priorities` lists them")
        instance = new_id()
        execution = self._lifecycle(instance, "activate", Rank.BARRIER)
        key, sealer = await self.vault.new_key(instance) if options.secrets else (None, None)
        await self.storage.activate(
            NewInstance(
                id=instance,
                twist=version.twist,
                version=version.number,
                priority=priority,
                options=options.json,
                secret=secrets.token_bytes(32),
                activate=execution,
                key=key,
                sealed=None if sealer is None else seal_secrets(sealer, options.secrets),
            )
        )
        self.ring()
        await self.roll_out()  # a newer version may have been deployed while its options were looked at
        return instance, execution.id

    async def asked_of(self, instance: Instance) -> list[str]:
        """Return what an instance waits to be granted."""
        return await RollOut(self.storage, self.clock).awaited(instance)

    async def grant(self, instance: Instance, *, dry_run: bool = False, force: bool = False) -> str | None:
        """Grant an instance what the version asks for that it waits for; returns the execution of its `upgrade`.

        What has become live of it since that version was deployed is checked as `deploy` does. None when it waits for no grant, or with
        `dry_run`, which only checks.

        Raises:
            BreaksLive: the version would break what is live, and not `force`.
            DoesNotApply: it waits for another version by now.
        """
        version = await self.storage.version(instance.twist, instance.awaiting) if instance.awaiting is not None else None
        if version is None:
            return None
        broken = await breakages(self.storage, instance.twist, version.manifest, self.chosen, only=instance.id)
        if broken and not force:
            raise BreaksLive(f"version {version.number} of {instance.twist_name}", broken)
        if dry_run:
            return None
        execution = self._lifecycle(instance.id, "upgrade", Rank.BARRIER)
        await self.storage.grant(version.number, execution)
        self.ring()
        return execution.id

    async def roll_out(self, tell: Tell = lambda _: None) -> dict[str, RolledOut]:
        """Offer every twist's latest version to the instances that were not offered it: those of a deploy, or left by one that was killed."""
        rolled_out = await RollOut(self.storage, self.clock).finish(tell)
        if rolled_out:
            self.ring()
        return rolled_out

    async def suspend(self, instance: str, reason: str) -> Suspension:
        """Have nothing more of an instance run until it is resumed, whatever is deployed meanwhile.

        Raises:
            DoesNotApply: it is being deactivated.
        """
        suspension = Suspension(reason=reason, since=self.clock.now())
        await self.storage.suspend(instance, suspension)
        return suspension

    async def resume(self, instance: str) -> bool:
        """Lift an instance's suspension and begin its budgets anew; False when it was not suspended."""
        was_suspended = await self.storage.resume(instance, self.clock.now())
        self.ring()
        return was_suspended

    async def deactivate(self, instance: str) -> str:
        """Fence an instance and queue its `deactivate`; returns that execution's id."""
        execution = self._lifecycle(instance, "deactivate", Rank.DEACTIVATE)
        await self.storage.begin_deactivation(execution)
        self.ring()
        return execution.id

    async def invoke(self, instance: Instance, target: Target) -> str:
        """Queue a method for a person who waits for its result; returns the execution's id."""
        execution = NewExecution(
            id=new_id(),
            instance=instance.id,
            trigger="invoke",
            target=target,
            rank=Rank.WAITED_FOR,
            cause="invoke",
            at=self.clock.now(),
        )
        await self.storage.enqueue(execution)
        self.ring()
        return execution.id

    async def redeliver(self, delivery: Delivery) -> str:
        """Have a webhook's request run once more, as if it had come again; returns the new execution.

        Raises:
            UnknownInstance, QueueIsFull, DoesNotApply: as `Storage.redeliver`.
        """
        original = await self.storage.execution(delivery.execution)
        if original is None:
            raise DoesNotApply(f"there is no execution {delivery.execution} any more")
        execution = NewExecution(
            id=new_id(),
            instance=delivery.instance,
            trigger="webhook",
            target=original.target,
            callback=original.callback,
            ns=original.ns,
            cause=f"redelivery of {delivery.execution}",
            at=self.clock.now(),
        )
        await self.storage.redeliver(delivery.execution, execution)
        self.ring()
        return execution.id

    async def is_held(self, execution: Execution) -> bool:
        """Whether an execution that is not over waits for its suspended instance to be resumed."""
        if execution.status == "running":
            return False
        instance = await self.storage.instance(execution.instance)
        return instance is not None and instance.suspension is not None

    def _lifecycle(self, instance: str, trigger: Trigger, rank: Rank) -> NewExecution:
        return NewExecution(
            id=new_id(),
            instance=instance,
            trigger=trigger,
            target=Target(ns="", method=trigger),
            rank=rank,
            cause="operator",
            at=self.clock.now(),
        )


def storage_limits(settings: Settings) -> StorageLimits:
    """Return what one instance may keep and start."""
    return StorageLimits(
        pending=settings.limit_queue,
        pending_bytes=settings.limit_queue_bytes,
        store_bytes=settings.limit_store,
        callbacks=settings.limit_callbacks,
        record_bytes=settings.limit_records,
        delivery_bytes=settings.limit_deliveries,
        pace=Pace(burst=settings.pace_burst, rate=settings.pace_rate),
        daily=settings.limit_daily,
        chain=settings.limit_chain,
    )


@contextlib.asynccontextmanager
async def open_service(settings: Settings, *, create: bool = False) -> AsyncIterator[Service]:
    """Open the database that the settings name.

    Raises:
        StorageUnusable: there is none (and `create` is false), or it cannot be used.
    """
    clock = SystemClock()
    storage = await open_sqlite(settings.database_path, clock=clock, create=create, limits=storage_limits(settings))
    service = Service(settings, storage, clock)
    try:
        yield service
    finally:
        await service.close()
