"""Fetches: which tool asks, what it declared, and who the request is for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from ropewalk.answers import declared, network
from ropewalk.answers.interface import LeaseOver, Session
from ropewalk.egress.fetch import Fetcher
from ropewalk.egress.hops import hop_of
from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.errors import NetworkDenied, PermissionDenied
from ropewalk.wire.control import OptionField, ToolInfo
from ropewalk.wire.messages import Fetch
from tests.answers.authors import MANIFEST, Author
from tests.egress.origin import Connection, Origin, serving


def declaring(session: Session, options: bytes) -> Session:
    """Return the same attempt of a version whose Network tool has these options."""
    tools = [ToolInfo(ns="web", kind="Network", options=options), ToolInfo(ns="plot", kind="Plot")]
    return Session(session.host, session.claim, replace(MANIFEST, tools=tools))


def asking(url: str, ns: str = "web") -> Fetch:
    return Fetch(id=1, ns=ns, method="GET", url=url, headers=[])


@pytest.fixture
async def origin(author: Author) -> AsyncIterator[Origin]:
    """A server that the author's requests may reach."""
    async with serving() as origin:
        fetcher = Fetcher(private=[parse_pattern(f"{origin.url}/*")])
        author.session.host = replace(author.session.host, fetcher=fetcher)
        await fetcher.start()
        yield origin
        await fetcher.stop()


async def test_declared_url_is_fetched(author: Author, origin: Origin) -> None:
    session = declaring(author.session, b'{"urls":["%s/*"]}' % origin.url.encode())
    assert (await network.fetch(session, asking(f"{origin.url}/x"))).status == 200


async def test_undeclared_url_is_not(author: Author, origin: Origin) -> None:
    session = declaring(author.session, b'{"urls":["https://api.example.com/*"]}')
    with pytest.raises(NetworkDenied, match=r"api\.example\.com"):
        await network.fetch(session, asking("https://example.com/"))
    with pytest.raises(NetworkDenied, match="none"):
        await network.fetch(declaring(author.session, b"{}"), asking("https://example.com/"))


@pytest.mark.parametrize("ns", ["", "plot", "other"])
async def test_only_a_network_tool_may_fetch(author: Author, ns: str) -> None:
    with pytest.raises(PermissionDenied, match="no Network tool"):
        await network.fetch(author.session, asking("https://example.com/", ns))


@pytest.mark.parametrize(
    "options", [b"", b"[]", b'{"urls":"*"}', b'{"urls":[1]}', b'{"urls":["example.com"]}', b'{"urls":["{nothing}/*"]}']
)
def test_options_that_are_refused_at_deploy(options: bytes) -> None:
    with pytest.raises(BadPattern):
        declared.check_declared(MANIFEST, ToolInfo(ns="web", kind="Network", options=options))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(b"{}", ["https://default.test/*"]), (b'{"base":"http://own.test:8080/"}', ["http://own.test:8080/*"])],
)
def test_pattern_may_name_an_option(given: bytes, expected: list[str]) -> None:
    option = OptionField(ns="", name="base", type="string", annotation="str", required=False, default=b'"https://default.test"')
    tool = ToolInfo(ns="web", kind="Network", options=b'{"urls":["{base}/*"]}')
    patterns = declared.declared_patterns(replace(MANIFEST, options=[option]), tool, given)
    assert [pattern.text for pattern in patterns] == expected


@pytest.mark.parametrize("given", [b'{"base":"*"}', b'{"base":null}', b'{"base":"example.com"}', b'{"base":true}', b"{}"])
def test_option_that_makes_no_pattern(given: bytes) -> None:
    option = OptionField(ns="", name="base", type="string", annotation="str", required=True)
    tool = ToolInfo(ns="web", kind="Network", options=b'{"urls":["{base}/*"]}')
    with pytest.raises(BadPattern):
        declared.declared_patterns(replace(MANIFEST, options=[option]), tool, given)


# ── For other clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_exchange_streams_and_follows_nothing(author: Author, origin: Origin) -> None:
    session = declaring(author.session, b'{"urls":["%s/*"]}' % origin.url.encode())

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    hop = hop_of("POST", f"{origin.url}/x", [("X-Own", "1")], pieces())
    async with network.exchange(session, hop) as answered:
        assert (answered.status, answered.reason) == (200, b"x")
        body = b"".join([chunk async for chunk in answered.chunks()])
    assert body.startswith(b"POST /x HTTP/1.1\r\nhost: ")
    assert b"user-agent" not in body
    assert body.endswith(b"transfer-encoding: chunked\r\n\r\none two")
    async with network.exchange(session, hop_of("GET", origin.redirect("/away", "/x"), [])) as answered:
        assert (answered.status, answered.header(b"location")) == (302, "/x")


async def test_exchange_is_under_the_patterns_of_all_network_tools(author: Author, origin: Origin) -> None:
    tools = [
        ToolInfo(ns="web", kind="Network", options=b'{"urls":["https://api.example.com/*"]}'),
        ToolInfo(ns="calendar.web", kind="Network", options=b'{"urls":["%s/*"]}' % origin.url.encode()),
    ]
    session = Session(author.session.host, author.session.claim, replace(MANIFEST, tools=tools))
    async with network.exchange(session, hop_of("GET", f"{origin.url}/x", [])) as answered:
        assert answered.status == 200
    with pytest.raises(NetworkDenied, match=r"matches no URL pattern"):
        async with network.exchange(session, hop_of("GET", "https://example.com/", [])):
            pass


# ── The lease ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_hop_starts_once_the_lease_is_over(author: Author, origin: Origin) -> None:
    """It ends while the first server answers: the redirect is not followed."""
    held = True
    session = declaring(author.session, b'{"urls":["%s/*"]}' % origin.url.encode())
    session = Session(session.host, session.claim, session.manifest, lambda: held)

    async def end_the_lease(connection: Connection) -> None:
        nonlocal held
        held = False
        await connection.answer(307, location="/next")

    with pytest.raises(LeaseOver):
        await network.fetch(session, asking(origin.on("/first", end_the_lease)))
    assert [request.path for request in origin.requests] == ["/first"]
