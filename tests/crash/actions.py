"""What a step does, as a person, a program or another service would: each is acknowledged with what it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import apsw

from ropewalk.answers.tasks import new_id
from ropewalk.service.auditing import audit
from ropewalk.service.changing import change
from ropewalk.service.node import Node
from ropewalk.service.options import Chosen, Given
from ropewalk.sources.receiving import Received, Receiver
from ropewalk.storage.records import PENDING, ExecutionQuery, Instance
from ropewalk.vault.rotation import rotate
from ropewalk.wire.messages import PriorityRecord
from tests.crash.guests import target
from tests.crash.services import SandboxedService
from tests.crash.versions import SECRET, Code
from tests.crash.watched import Journal
from tests.crash.workload import Step


class Actions:
    """Does steps in a living node.

    Args:
        service: the database.
        node: which is woken by what it does not see itself.
        tell: takes down what is about to be done, where no acknowledgement would say of whom.
        move: moves the clock on by microseconds.
        quiet: waits until nothing runs or can.
        slots: the instances by the steps' names for them.
    """

    def __init__(
        self,
        service: SandboxedService,
        node: Node,
        tell: Journal,
        move: Callable[[int], None],
        quiet: Callable[[], Awaitable[None]],
        slots: dict[int, str],
    ) -> None:
        self._service = service
        self._storage = service.storage
        self._clock = service.clock
        self._node = node
        self._tell = tell
        self._move = move
        self._quiet = quiet
        self._slots = slots

    async def do(self, step: Step) -> Any:
        """Do a step and return what it is acknowledged with; None when there was nothing to be done."""
        return await getattr(self, f"_{step['do']}")(step)

    # ── Instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _instance(self, step: Step) -> Instance | None:
        id_ = self._slots.get(step["slot"])
        return None if id_ is None else await self._storage.instance(id_)

    async def _activate(self, step: Step) -> str:
        version = await self._storage.version((await self._storage.twists())[0].id)
        assert version is not None
        root = await self._storage.root_priority()
        chosen = Chosen({"tone": step["tone"]}, {"token": SECRET + step["tone"]} if step.get("secret", True) else {})
        instance, _ = await self._service.activate(version, root.id, chosen)
        self._slots[step["slot"]] = instance
        return instance

    async def _options(self, step: Step) -> list[str | None] | None:
        """Change the options."""
        instance = await self._instance(step)
        if instance is None:
            return None
        self._tell(changing=instance.id, tone=step["tone"])
        given = {"tone": Given(step["tone"]), "token": Given(SECRET + step["tone"], named=True)}
        return [instance.id, await change(self._service, instance, given)]

    async def _grant(self, step: Step) -> list[Any] | None:
        """Grant what the instance waits for, if it does."""
        instance = await self._instance(step)
        if instance is None or instance.awaiting is None:
            return None
        self._tell(granting=instance.id, version=instance.awaiting)
        return [instance.id, instance.awaiting, await self._service.grant(instance)]

    async def _suspend(self, step: Step) -> None:
        instance = await self._instance(step)
        if instance is not None:
            await self._service.suspend(instance.id, "to look into it")

    async def _resume(self, step: Step) -> None:
        instance = await self._instance(step)
        if instance is not None:
            await self._service.resume(instance.id)

    async def _deactivate(self, step: Step) -> str | None:
        instance = await self._instance(step)
        if instance is None:
            return None
        self._tell(deactivating=instance.id)
        await self._service.deactivate(instance.id)
        return instance.id

    # ── Versions ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _deploy(self, step: Step) -> int:
        code = Code(**step["code"], origin=self._service.settings.allow_private[0].removesuffix("/*"))
        deployed: Any = await self._service.releases.deploy(code.bundle, name="clerk", grant=step["grant"])
        return int(deployed["version"])

    async def _rollback(self, step: Step) -> list[int] | None:
        """Go back to the version before the latest."""
        (twist,) = await self._storage.twists()
        if twist.latest == 1:
            return None
        back: Any = await self._service.releases.rollback(twist, None, grant=step["grant"])
        return [back["version"], back["rolled_back_to"]]

    # ── Events ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _invoke(self, step: Step) -> str | None:
        instance = await self._instance(step)
        return None if instance is None else await self._service.invoke(instance, target("work", step["name"], step["spec"]))

    async def _deliver(self, step: Step) -> list[Any] | None:
        instance = await self._instance(step)
        webhooks = [] if instance is None else await self._storage.webhooks(instance.id)
        if not webhooks:
            return None
        watch: Any = None  # nobody waits for what the hook answers
        receiver = Receiver(self._storage, self._service.vault, self._clock, watch, new_id=new_id, woken=self._node.wake)
        request = Received(method="POST", path="", query="", headers=[], body=b"{}")
        accepted = await receiver.accept(webhooks[0], request, step["delivery"])
        return [accepted.execution, accepted.duplicate]

    async def _cancel(self, step: Step) -> str | None:
        """Cancel something that runs, if anything begins to within some turns, or else something that waits."""
        found = await self._executions(step, *PENDING)
        for _ in range(40):
            if any(one.status == "running" for one in found):
                break
            await asyncio.sleep(0)
            found = await self._executions(step, *PENDING)
        mine = [one for one in found if one.trigger in ("task", "invoke", "webhook")]
        mine.sort(key=lambda one: one.status != "running")
        if not mine:
            return None
        chosen = mine[step["place"] % len(mine)]
        self._tell(cancelling=chosen.id)
        done = await self._storage.cancel(chosen.id, self._clock.now())
        if step["place"] % 2:
            self._node._on_ring()  # as the ring does that follows, unless it is lost
        return str(chosen.id) if done else None

    async def _retry(self, step: Step) -> str | None:
        """Retry something that is over for bad."""
        found = await self._executions(step, "dead", "failed")
        if not found:
            return None
        self._tell(retrying=found[0].id)
        await self._storage.retry(found[0].id, self._clock.now())
        return str(found[0].id)

    async def _executions(self, step: Step, *statuses: str) -> list[Any]:
        instance = self._slots.get(step["slot"])
        found = await self._storage.executions(ExecutionQuery(instance=instance)) if instance else []
        return [one for one in found if one.status in statuses]

    async def _redeliver(self, step: Step) -> str | None:
        """Have the newest request of the instance's run once more."""
        instance = await self._instance(step)
        deliveries = [] if instance is None else await self._storage.deliveries(instance.id)
        return await self._service.redeliver(deliveries[0]) if deliveries else None

    async def _unschedule(self, step: Step) -> str | None:
        """End what recurs."""
        instance = await self._instance(step)
        found = [] if instance is None else await self._storage.recurring(instance.id)
        if not found:
            return None
        self._tell(unscheduling=found[0].instance)
        await self._storage.cancel_recurring(found[0].id, self._clock.now())
        return found[0].id

    # ── Else ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _set(self, step: Step) -> str | None:
        instance = await self._instance(step)
        if instance is None:
            return None
        await self._storage.write_values(instance.id, "", {step["key"]: b"1"}, self._clock.now())
        return instance.id

    async def _pause(self, step: Step) -> None:
        for _ in range(step["turns"]):
            await asyncio.sleep(0)

    async def _advance(self, step: Step) -> None:
        self._move(round(step["seconds"] * 1e6))

    async def _rest(self, step: Step) -> None:
        """Wait until nothing runs or can."""
        await self._quiet()

    async def _priority(self, step: Step) -> str:
        root = await self._storage.root_priority()
        if await self._storage.priority(step["id"]) is None:
            await self._storage.create_priority(PriorityRecord(id=step["id"], title="made", parent=root.id))
        return str(step["id"])

    async def _rotate(self, step: Step) -> None:
        """Replace the master key."""
        self._tell(rotating=True)
        await rotate(self._storage, self._service.masters)

    async def _fault(self, step: Step) -> None:
        """Have the next process not to be had, for no reason that there may be."""
        self._service.watched.fault = step["of"]
        self._node._on_ring()

    async def _set_back(self, step: Step) -> None:
        """Set the clock back, and have the node look at it."""
        self._tell(setting_back=True)
        self._move(-round(step["seconds"] * 1e6))
        await self._node._look_at_the_clock()

    async def _damage(self, step: Step) -> None:
        """Have instances wait for nothing, as no commit leaves them."""
        self._tell(damaging=True)
        with closing(apsw.Connection(str(self._service.settings.database_path))) as connection:
            connection.set_busy_timeout(5000)
            connection.execute("UPDATE instances SET wake_at = NULL WHERE status = 'active'").fetchall()

    async def _doctor(self, step: Step) -> list[str]:
        """Find what is wrong and mend it."""
        found = await audit(self._service, repair=True)
        self._tell(mended=[one.name for one in found])
        return [one.name for one in found if not one.repaired]
