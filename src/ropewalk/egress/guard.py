"""What may be sent where: the verdicts, without any input or output.

A URL must match a pattern that the twist's manifest declares, and every address that its host resolves to must be public. Where one of
the operator's patterns matches as well, and the twist declared more than `*`, addresses may be private.

Before: `urls` parsed. After: `fetch` connects to the very addresses that were judged here, for every hop of a redirect again.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from ropewalk.egress.addresses import why_not_public
from ropewalk.egress.patterns import Pattern, first_match
from ropewalk.egress.urls import Address, BadUrl, Url, join, parse
from ropewalk.errors import NetworkDenied


class Guard(Struct, frozen=True, kw_only=True):
    """The rules for one twist: the patterns it declares, and those that the operator lets lead to private addresses."""

    declared: tuple[Pattern, ...]
    private: tuple[Pattern, ...] = ()

    def matching(self, url: Url) -> list[Pattern]:
        """Return the declared patterns that match the URL."""
        return [pattern for pattern in self.declared if pattern.matches(url)]

    def admit(self, url: Url) -> bool:
        """Return whether this URL may lead to addresses that are not public.

        Raises:
            NetworkDenied: no declared pattern matches it.
        """
        matching = self.matching(url)
        if not matching:
            declared = ", ".join(pattern.text for pattern in self.declared[:10]) or "none"
            raise NetworkDenied(
                f"{url.shown} matches no URL pattern that the twist declares ({declared}): add one to Network(urls=[…]) and deploy again"
            )
        return any(pattern.host is not None for pattern in matching) and first_match(self.private, url) is not None


def why_refused(addresses: Iterable[Address]) -> str | None:
    """Return what kind of address the first one is that is not public; None when all are."""
    return next((why for address in addresses if (why := why_not_public(address))), None)


def not_public(url: Url, why: str) -> NetworkDenied:
    """Return the error for a URL whose host leads to an address of the kind `why`. It tells the kind, never the address."""
    return NetworkDenied(
        f"{url.shown} leads to an address that is not public: {why}. An operator can allow it with "
        f"ROPEWALK_ALLOW_PRIVATE={url.scheme}://{url.authority}/* once the twist declares that pattern too"
    )


def parse_asked(text: str) -> Url:
    """Return the URL that a twist asks for. Raises NetworkDenied when it cannot be sent."""
    try:
        return parse(text)
    except BadUrl as error:
        raise NetworkDenied(f"the request was not sent: {error}") from None


def parse_redirect(base: Url, location: str) -> Url:
    """Return where a redirect leads.

    Raises:
        NetworkDenied: it is no URL that can be sent, or leads from https to http.
    """
    try:
        url = join(base, location)
    except BadUrl as error:
        raise NetworkDenied(f"{base.shown} redirects to what cannot be followed: {error}") from None
    if base.scheme == "https" and url.scheme == "http":
        raise NetworkDenied(f"{base.shown} redirects from https to {url.shown}, which is not encrypted: it was not followed")
    return url
