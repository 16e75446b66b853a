"""Every attack is held back, by each of its guards, and gets through without them."""

from __future__ import annotations

import pytest

from tests.escape.attacks import files, processes, sockets
from tests.escape.guards import Guard
from tests.escape.harness import Attack, Stages, assert_control, assert_held_back, assert_held_back_by

pytestmark = pytest.mark.asyncio(loop_scope="session")

FAMILIES = [files, sockets, processes]
ATTACKS = [
    pytest.param(attack, id=f"{family.__name__.rpartition('.')[2]}: {attack}") for family in FAMILIES for attack in family.ATTACKS
]
LAYERS = [
    pytest.param(attack, guard, id=f"{attack}: {guard} alone")
    for family in FAMILIES
    for attack in family.ATTACKS
    for guard in attack.held_by
    if len(attack.held_by) > 1
]


@pytest.mark.parametrize("attack", ATTACKS)
async def test_it_is_held_back(stages: Stages, attack: Attack) -> None:
    await assert_held_back(stages, attack)


@pytest.mark.parametrize("attack", ATTACKS)
async def test_without_its_guards_it_gets_through(stages: Stages, attack: Attack) -> None:
    await assert_control(stages, attack)


@pytest.mark.parametrize(("attack", "guard"), LAYERS)
async def test_each_guard_alone_holds_it_back(stages: Stages, attack: Attack, guard: Guard) -> None:
    await assert_held_back_by(stages, attack, guard)
