"""The short form of `make egress-campaign`."""

from __future__ import annotations

from tests.egress.campaign import campaign

URLS = 8_000


async def test_what_is_checked_is_what_is_sent() -> None:
    counts = await campaign(URLS, seed=1)
    assert counts["sent"] + counts["refused"] == URLS
    assert counts["sent"] > URLS / 4
    assert counts["refused"] > URLS / 4
    assert counts["followed"] > URLS / 25
