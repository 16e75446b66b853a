"""The short form of `make crash-campaign`: some episodes of a fixed seed, and two of the planted bugs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.__main__ import seen
from tests.crash.episode import Episode, Ground, lay_ground
from tests.crash.mutants import MUTANTS

SEED = 11


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """What the episodes stand on."""
    with lay_ground() as ground:
        yield ground


@pytest.mark.parametrize("number", range(6))
def test_nodes_that_are_killed_at_their_commits_break_nothing(ground: Ground, number: int) -> None:
    told = Episode.drawn(f"{SEED}.{number}", kills=6).run(ground)
    assert told.kills


@pytest.mark.parametrize("name", ["acknowledged_before_it_is_committed", "nothing_is_synced"])
def test_a_planted_bug_is_seen(ground: Ground, name: str) -> None:
    assert seen(ground, name, SEED, kills=100) is not None


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_is_seen(ground: Ground, name: str) -> None:
    assert seen(ground, name, SEED, kills=400) is not None
