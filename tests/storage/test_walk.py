"""Anything in any order: whatever is done to a storage, the audit finds nothing wrong, and what ran is what should have."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from ropewalk.storage.interface import DoesNotApply, Fenced, QueueIsFull, StorageUnavailable, UnknownInstance
from ropewalk.storage.records import (
    AnyEffect,
    CancelTask,
    CancelTasks,
    Claim,
    DropCallback,
    DropCallbacks,
    DropValue,
    DropValues,
    ExecutionQuery,
    NewExecution,
    Node,
    PutCallback,
    PutValue,
    Rank,
    Suspension,
    Verdict,
)
from ropewalk.wire.messages import Target
from tests.storage.scene import NODE, SECOND, START, Scene

INSTANCES = ("i0", "i1", "i2")
REFUSALS = (DoesNotApply, Fenced, UnknownInstance, StorageUnavailable, QueueIsFull)


class Walk:
    """A walk at random through what can be done, with what is held on the way."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.storage = scene.storage
        self.chance = random.Random(seed)
        self.claims: list[Claim] = []
        self.ids: list[str] = []
        self.started: dict[tuple[str, int], int] = {}
        self.steps: list[Callable[[], Awaitable[object]]] = [
            *[self.enqueue] * 6,
            *[self.claim] * 5,
            *[self.settle] * 8,
            self.commit,
            self.cancel,
            self.retry,
            self.write,
            self.pass_time,
            self.pass_time,
            self.lose_node,
            self.deploy,
            self.grant,
            self.activate,
            self.deactivate,
            self.suspend,
            self.resume,
            self.resume,
            self.upkeep,
        ]

    async def step(self) -> None:
        """Do something; what is refused changes nothing."""
        try:
            await self.chance.choice(self.steps)()
        except REFUSALS:
            pass

    def key(self) -> str | None:
        """Return a key, or none."""
        return self.chance.choice([None, None, "k1", "k2"])

    def event(self, instance: str) -> NewExecution:
        """Return an event, due some time."""
        chance = self.chance
        run_at = chance.choice([None, self.scene.clock.now() + chance.randrange(-5, 20) * SECOND])
        rank = chance.choice([Rank.ORDINARY] * 5 + [Rank.WAITED_FOR])
        event = self.scene.event(
            instance,
            run_at=run_at,
            rank=rank,
            key=self.key(),
            coalesce=chance.random() < 0.5,
            ns=chance.choice(["", "tool"]),
            callback=chance.choice([None, "cb1", "cb2"]),
            event=b"x" * chance.choice([2, 2, 20_000]),
        )
        self.ids.append(event.id)
        return event

    async def enqueue(self) -> None:
        """Store an event from outside."""
        await self.storage.enqueue(self.event(self.chance.choice(INSTANCES)))

    async def claim(self) -> None:
        """Claim some instances."""
        only = self.chance.choice([None, *INSTANCES])
        for claim in await self.storage.claim(NODE, self.chance.randrange(1, 3), only=only):
            self.hold(claim)

    def hold(self, claim: Claim) -> None:
        """Keep a claim, having checked that the attempt is new and that its instance may run it."""
        attempt = (claim.execution.id, claim.execution.attempt)
        assert attempt not in self.started, "an attempt started twice"
        self.started[attempt] = claim.epoch
        instance = claim.instance
        if instance.status == "deactivating":
            assert claim.execution.trigger == "deactivate"
        elif instance.status == "activating":
            assert claim.execution.trigger == "activate"
        elif instance.target_version is not None:
            assert claim.execution.trigger == "upgrade"
        assert instance.status not in ("failed", "suspended")
        self.claims.append(claim)

    async def settle(self) -> None:
        """Settle something that is held, maybe no longer."""
        if not self.claims:
            return
        claim = self.claims.pop(self.chance.randrange(len(self.claims)))
        verdict = self.verdict()
        effects = self.effects(claim.instance.id) if verdict.status == "succeeded" else []
        record = self.chance.choice([None, b"r" * self.chance.randrange(100)])
        settlement = replace(self.scene.settlement(claim, verdict, *effects, next=self.chance.random() < 0.5), record=record)
        try:
            settled = await self.storage.settle(settlement)
        except DoesNotApply:
            self.claims.append(claim)
            return
        if settled.next is not None:
            assert settled.next.epoch == claim.epoch
            self.hold(settled.next)

    def verdict(self) -> Verdict:
        """Return how an attempt ended."""
        chance = self.chance
        status = chance.choice(["succeeded"] * 4 + ["retrying", "retrying", "failed", "dead", "cancelled"])
        run_at = self.scene.clock.now() + chance.randrange(20) * SECOND if status == "retrying" else None
        return Verdict(status=status, run_at=run_at, ordered=chance.random() < 0.3, counted=chance.random() < 0.8)  # type: ignore[arg-type]

    def effects(self, instance: str) -> list[AnyEffect]:
        """Return what an attempt did."""
        return [self.effect(instance) for _ in range(self.chance.randrange(5))]

    def effect(self, instance: str) -> AnyEffect:
        """Return something that an attempt did."""
        chance = self.chance
        ns, key = chance.choice(["", "tool"]), chance.choice("abc")
        token = chance.choice(["cb1", "cb2"])
        expires = chance.choice([None, self.scene.clock.now() + 5 * SECOND])
        effects: list[AnyEffect] = [
            PutValue(ns=ns, key=key, value=b"x" * chance.randrange(1, 30), expires_at=expires),
            PutValue(ns=ns, key=key + "z", value=b"1"),
            DropValue(ns=ns, key=key),
            DropValues(ns=ns, prefix=key),
            self.scene.task(
                "go", seconds=chance.choice([None, -1, 3]), instance=instance, key=self.key(), coalesce=chance.random() < 0.5
            ),
            CancelTask(ns=ns, token_or_key=chance.choice([*self.ids[-5:], "k1"])),
            CancelTasks(ns=ns),
            PutCallback(ns=ns, token=token, target=Target(ns=ns, method="back"), at=1),
            DropCallback(token=token),
            DropCallbacks(ns=ns),
        ]
        return chance.choice(effects)

    async def commit(self) -> None:
        """Commit a part of something that is held."""
        if self.claims:
            claim = self.chance.choice(self.claims)
            await self.scene.commit(claim, *self.effects(claim.instance.id))

    async def cancel(self) -> None:
        """Cancel an execution."""
        if self.ids:
            await self.storage.cancel(self.chance.choice(self.ids[-10:]), self.scene.clock.now())

    async def retry(self) -> None:
        """Retry whatever can be."""
        executions = await self.storage.executions(ExecutionQuery(limit=30))
        if executions:
            await self.storage.retry(self.chance.choice(executions).id, self.scene.clock.now())

    async def write(self) -> None:
        """Write to a store from outside."""
        values = {self.chance.choice("abc"): self.chance.choice([None, b"1", b"22"])}
        await self.storage.write_values(self.chance.choice(INSTANCES), "", values, self.scene.clock.now())

    async def pass_time(self) -> None:
        """Let time pass; sometimes the clock is set back."""
        self.scene.clock.move(self.chance.choice([1, 2, 5, 30, -3]))

    async def lose_node(self) -> None:
        """Lose the node, and start it again."""
        await self.storage.release(NODE, self.scene.clock.now())
        await self.storage.register(Node(id=NODE, boot="boot", expires=2000.0, started_at=START))

    async def deploy(self) -> None:
        """Deploy a new version, with its upgrades."""
        await self.scene.upgrade(f"b{self.chance.random()}", waits=self.chance.random() < 0.3)

    async def grant(self) -> None:
        """Grant an instance what it waits for."""
        instance = await self.storage.instance(self.chance.choice(INSTANCES))
        if instance is not None and instance.awaiting is not None:
            await self.storage.grant(instance.awaiting, self.scene.lifecycle(instance.id, "upgrade"))

    async def activate(self) -> None:
        """Activate an instance that isn't there yet."""
        await self.scene.activate(self.chance.choice(INSTANCES))

    async def deactivate(self) -> None:
        """Deactivate an instance, seldom."""
        if self.chance.random() < 0.3:
            await self.storage.begin_deactivation(self.scene.lifecycle(self.chance.choice(INSTANCES), "deactivate"))

    async def suspend(self) -> None:
        """Suspend an instance, as an operator or a budget does."""
        budget = self.chance.choice([None, "daily"])
        suspension = Suspension(reason="why not", since=self.scene.clock.now(), budget=budget)  # type: ignore[arg-type]
        await self.storage.suspend(self.chance.choice(INSTANCES), suspension)

    async def resume(self) -> None:
        """Resume an instance, suspended or not."""
        await self.storage.resume(self.chance.choice(INSTANCES), self.scene.clock.now())

    async def upkeep(self) -> None:
        """Erase, sweep and forget a little."""
        await self.storage.erase(3)
        await self.storage.sweep(3)
        await self.storage.forget(3, self.scene.clock.now())
        await self.storage.forget_records(3, self.scene.clock.now() - 10**9)

    async def finish(self) -> None:
        """Work off everything that is left, and see that nothing is."""
        for instance in await self.storage.instances():
            await self.storage.resume(instance.id, self.scene.clock.now())
        for claim in self.claims:
            try:
                await self.scene.succeed(claim)
            except Fenced:
                pass
        for _ in range(1000):
            self.scene.clock.move(30)
            claims = await self.storage.claim(NODE, 10)
            for claim in claims:
                await self.scene.succeed(claim)
            if not claims and await self.storage.next_wake() is None:
                break
        for instance in await self.storage.instances():
            assert instance.pending == 0 or instance.status == "failed"


@pytest.mark.parametrize("seed", range(12))
async def test_a_walk_at_random_leaves_nothing_wrong_and_nothing_undone(scene: Scene, seed: int) -> None:
    walk = Walk(scene, seed)
    for _ in range(250):
        await walk.step()
        assert await scene.problems() == []
    await walk.finish()
