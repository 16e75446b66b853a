"""The guard against an oracle that knows nothing of it: browsers' parser, IANA's registries, the rules of patterns written down once more."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from ropewalk.egress.addresses import is_public
from ropewalk.egress.guard import Guard
from ropewalk.egress.patterns import parse_pattern
from ropewalk.egress.urls import parse
from ropewalk.egress.verdicts import judge
from tests.egress import oracle
from tests.egress.campaign import ADDRESSES, ANY_ADDRESS, DECLARED, generated, resolve
from tests.egress.registries import REACHABLE
from tests.egress.verdicts import CASES, Case, meaning

GENERATED = 4_000


def test_every_label_of_the_list_is_the_oracles() -> None:
    told = [(case, oracle.expected(case.url, case.patterns, case.private, case.resolve)) for case in CASES]
    assert [(case, said) for case, said in told if said != case.expected] == []


def test_what_is_sent_is_what_the_oracle_would_send() -> None:
    sent = [(case.url, parse(case.url).text, oracle.sent(case.url)) for case in CASES if case.expected == "yes"]
    assert len(sent) > 350
    assert [one for one in sent if one[1] != one[2]] == []


async def test_generated_urls_are_judged_alike() -> None:
    chance = random.Random(2)
    answers = {**ADDRESSES, "*": ANY_ADDRESS}
    different = []
    for _ in range(GENERATED):
        text, (pattern, _) = generated(chance), chance.choice(DECLARED)
        said = meaning(await judge(text, Guard(declared=(parse_pattern(pattern),)), resolve))
        if said != (wanted := oracle.expected(text, [pattern], [], answers)):
            different.append((text, pattern, said, wanted))
        elif said == "yes" and parse(text).text != oracle.sent(text):
            different.append((text, pattern, parse(text).text, oracle.sent(text)))
    assert different == []


@pytest.mark.parametrize("one", oracle.STRICTER, ids=lambda one: one.name)
def test_what_is_refused_although_browsers_take_it_is_in_the_list(one: oracle.Stricter) -> None:
    """And for no other reason: without this rule the oracle would let it pass, or find something else amiss."""

    def falls_under(case: Case) -> bool:
        asked = oracle.read(case.url)
        return asked is not None and [other for other in oracle.STRICTER if other.is_one(asked)] == [one]

    assert one.reason
    assert [case for case in CASES if case.expected == "url" and falls_under(case)]


def test_addresses_are_as_public_as_the_registries_have_them() -> None:
    chance = random.Random(3)
    edges = [block[place] for block in REACHABLE for place in (0, -1)]
    around = [
        type(edge)(number) for edge in edges for number in (int(edge) - 1, int(edge) + 1) if 0 <= number < 1 << edge.max_prefixlen
    ]
    fours = [IPv4Address(chance.getrandbits(32)) for _ in range(2_000)]
    wrapped = [
        IPv6Address(int(ip_network(block)[0]) | int(four)) for block in ("64:ff9b::/96", "2a00::5efe:0:0/96") for four in fours
    ]
    sixes = [IPv6Address(chance.getrandbits(128)) for _ in range(500)] + [
        IPv6Address(2 << 124 | chance.getrandbits(124)) for _ in range(2_000)
    ]
    every = [*edges, *around, *fours, *wrapped, *sixes]
    assert [str(one) for one in every if is_public(one) != oracle.is_public(one)] == []
