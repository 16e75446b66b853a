"""Every system call number that the table does not let through gets the verdict that the profile states, from the kernel itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Final

import pytest

from ropewalk.sandbox.assessment import assess
from ropewalk.sandbox.profile import describe_profile
from ropewalk.sandbox.seccomp import Verdict
from ropewalk.sandbox.syscalls import NUMBERS
from tests.escape.guards import Guard, seccomp
from tests.escape.harness import Attack, Bait, Outcome, Stages

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST: Final = 1024
"""Beyond every number that Linux has."""

HARMLESS: Final = ("umask", "munlockall", "setpgid")

PAST_EVERY_FILTER: Final = ("uretprobe", "uprobe")
"""The kernel's own trampolines call these: newer kernels let them past every filter, and answer whoever calls them from elsewhere with
SIGILL or ENXIO."""

SWEEP: Final = """
    answers = {}
    for number in given["numbers"]:
        try:
            answers[number] = call(number, *[given["argument"]] * 6)
        except OSError as error:
            answers[number] = errno.errorcode[error.errno]
    return answers
"""


def refusals(stages: Stages, argument: int) -> dict[int, Verdict]:
    """Return the profile's verdict on each number that it does not let through with these arguments."""
    table = describe_profile(stages.facts, "/bundles", assess(stages.facts).profile).seccomp
    assert table is not None
    words = [argument & (1 << 64) - 1] * 6
    stated = {number: table.decide(number, words) for number in range(MOST)}
    return {number: verdict for number, verdict in stated.items() if verdict.action != "allow"}


async def call(stages: Stages, numbers: Iterable[int], argument: int, off: Guard | None = None) -> Outcome:
    """Have a twist call numbers; the result maps them to what they were answered with."""
    bait = Bait(numbers=list(numbers), argument=argument)
    sweep = Attack(name="every number", source=SWEEP, held_by=[], bait=lambda: contextlib.nullcontext(bait))
    outcome, _ = await (await stages.without([off] if off else [])).make(sweep, stages.new_folder(sweep))
    return outcome


async def differences(stages: Stages, argument: int, off: Guard | None = None) -> set[int]:
    """Call every number that is not let through, and return those whose answer is not the profile's."""
    refused = refusals(stages, argument)
    numbers = refused.keys() - {NUMBERS[name] for name in PAST_EVERY_FILTER}
    outcome = await call(stages, numbers, argument, off)
    assert outcome.result is not None, f"the sweep itself failed: {outcome.text}"
    return {number for number in numbers if refused[number] != Verdict("errno", outcome.result[str(number)])}


@pytest.mark.parametrize("argument", [0, -1])
async def test_every_number_outside_the_table_gets_its_stated_verdict(stages: Stages, argument: int) -> None:
    assert await differences(stages, argument) == set()


async def test_a_number_that_gets_through_would_be_noticed(stages: Stages) -> None:
    assert await differences(stages, 0, seccomp(*HARMLESS)) == {NUMBERS[name] for name in HARMLESS}


@pytest.mark.parametrize("name", PAST_EVERY_FILTER)
async def test_what_newer_kernels_let_past_every_filter_leads_nowhere(stages: Stages, name: str) -> None:
    number = NUMBERS[name]
    outcome = await call(stages, [number], 0)
    if outcome.result is None:
        assert "signal 4" in outcome.text
    else:
        assert Verdict("errno", outcome.result[str(number)]) in (refusals(stages, 0)[number], Verdict("errno", "ENXIO"))
