"""Every attack is held back, on hosts with namespaces and without, by each of its guards; and gets through without them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.escape.attacks import (
    clients,
    cpu,
    fake_success,
    files,
    floods,
    frames,
    kernel,
    memory,
    others,
    processes,
    raw,
    smuggling,
    sockets,
)
from tests.escape.guards import Guard
from tests.escape.harness import Attack, Stages, assert_control, assert_held_back, assert_held_back_by

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAMILIES = [files, sockets, clients, processes, kernel, raw, memory, cpu, floods, smuggling, frames, others, fake_success]
ATTACKS = {f"{family.__name__.rpartition('.')[2]}: {attack}": attack for family in FAMILIES for attack in family.ATTACKS}
LAYERS = {
    f"{name}: {guard} alone": (attack, guard)
    for name, attack in ATTACKS.items()
    for guard in attack.held_by
    if len(attack.held_by) > 1
}


def off(guards: Sequence[Guard]) -> list[str]:
    """Sort by this for tests that share a sandbox to follow one another."""
    return sorted(guard.name for guard in guards)


CONTROLS = sorted(ATTACKS.items(), key=lambda item: off(item[1].held_by))
ALONE = sorted(LAYERS.items(), key=lambda item: off([guard for guard in item[1][0].held_by if guard is not item[1][1]]))


async def test_every_attack_has_a_name_of_its_own() -> None:
    assert len(ATTACKS) == sum(len(family.ATTACKS) for family in FAMILIES)


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_it_is_held_back(stages: Stages, attack: Attack) -> None:
    await assert_held_back(stages, attack)


@pytest.mark.parametrize(
    "attack", [pytest.param(attack, id=name) for name, attack in ATTACKS.items() if not attack.needs_namespaces]
)
async def test_it_is_held_back_without_namespaces(bare_stages: Stages, attack: Attack) -> None:
    await assert_held_back(bare_stages, attack)


@pytest.mark.parametrize("attack", [attack for _, attack in CONTROLS], ids=[name for name, _ in CONTROLS])
async def test_without_its_guards_it_gets_through(stages: Stages, attack: Attack) -> None:
    await assert_control(stages, attack)


@pytest.mark.parametrize(("attack", "guard"), [layer for _, layer in ALONE], ids=[name for name, _ in ALONE])
async def test_each_guard_alone_holds_it_back(stages: Stages, attack: Attack, guard: Guard) -> None:
    await assert_held_back_by(stages, attack, guard)
