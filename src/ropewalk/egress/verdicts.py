"""What would become of a request, without sending it: the steps of `Fetcher.exchange` as far as the connection."""

from __future__ import annotations

from msgspec import Struct

from ropewalk.egress.connections import Refused, Resolve, Unreachable, judged_addresses
from ropewalk.egress.guard import Guard, not_public
from ropewalk.egress.hops import Request, first_hop
from ropewalk.errors import RopewalkError


class Verdict(Struct, frozen=True):
    """Whether a URL may be asked for, and why."""

    url: str | None
    allowed: bool
    reason: str


async def judge(text: str, guard: Guard, resolve: Resolve) -> Verdict:
    """Return what would become of a GET request for the URL that `text` spells."""
    try:
        return Verdict(text, allowed=True, reason=await _why_allowed(text, guard, resolve))
    except (RopewalkError, Unreachable) as error:
        return Verdict(text, allowed=False, reason=str(error))


async def _why_allowed(text: str, guard: Guard, resolve: Resolve) -> str:
    url = first_hop(Request(method="GET", url=text)).url
    private = guard.admit(url)
    try:
        addresses = await judged_addresses(url.host, url.port, resolve, private=private)
    except Refused as error:
        raise not_public(url, str(error)) from None
    kind = "where the operator lets it lead to private addresses too" if private else "public"
    return f"{guard.matching(url)[0].text} matches {url.shown}, which leads to {', '.join(addresses)}: {kind}"
