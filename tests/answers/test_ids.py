"""Ids of what a node makes."""

from __future__ import annotations

import multiprocessing

from ropewalk.answers.tasks import new_id


def test_a_fork_gives_out_ids_of_its_own() -> None:
    ours = {new_id()}
    with multiprocessing.get_context("fork").Pool(1) as fork:
        theirs = set(fork.map(_new_id, range(40)))
    ours |= {new_id() for _ in range(40)}
    assert (len(ours), len(theirs)) == (41, 40)
    assert ours.isdisjoint(theirs)


def _new_id(_: int) -> str:
    return new_id()
