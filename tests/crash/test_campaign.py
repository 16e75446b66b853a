"""The short form of `make crash-campaign`: some episodes of a fixed seed, and two of the planted bugs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.__main__ import seen
from tests.crash.episode import Episode, folder, make_template
from tests.crash.mutants import MUTANTS

SEED = 11


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    """A database to begin with."""
    with folder() as place:
        make_template(Path(place))
        yield Path(place)


@pytest.mark.parametrize("number", range(6))
def test_nodes_that_are_killed_at_their_commits_break_nothing(template: Path, number: int) -> None:
    told = Episode.drawn(f"{SEED}.{number}", kills=6).run(template)
    assert told.kills


@pytest.mark.parametrize("name", ["acknowledged_before_it_is_committed", "nothing_is_synced"])
def test_a_planted_bug_is_seen(template: Path, name: str) -> None:
    assert seen(template, name, SEED, kills=100) is not None


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_every_planted_bug_is_seen(template: Path, name: str) -> None:
    assert seen(template, name, SEED, kills=400) is not None
