"""The short form of `make crash-campaign`: a kill at each kind of commit, an episode of a fixed seed, one in the sandbox, and one of the planted bugs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.__main__ import seen
from tests.crash.episode import Episode, Ground, lay_ground
from tests.crash.mutants import MUTANTS
from tests.crash.sweep import each_kind

SEED = 11


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """What the episodes stand on."""
    with lay_ground() as ground:
        yield ground


def test_nodes_that_are_killed_at_a_commit_of_each_kind_break_nothing(ground: Ground) -> None:
    assert each_kind(ground).unreached == []


def test_nodes_that_are_killed_at_any_point_break_nothing(ground: Ground) -> None:
    assert Episode.drawn(f"{SEED}.0", kills=6).run(ground).kills


def test_nodes_whose_guests_are_real_processes_break_nothing_either(ground: Ground) -> None:
    assert Episode.drawn(f"{SEED}.1", steps=15, kills=3, sandboxed=True).run(ground).kills


def test_a_planted_bug_is_seen(ground: Ground) -> None:
    assert seen(ground, "acknowledged_before_it_is_committed", SEED, kills=100) is not None


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_is_seen(ground: Ground, name: str) -> None:
    assert seen(ground, name, SEED, kills=400) is not None
