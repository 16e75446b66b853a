"""Fetches: which tool asks, what it declared, and who the request is for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ropewalk.answers import network
from ropewalk.answers.interface import Session
from ropewalk.egress.fetch import Fetcher
from ropewalk.egress.patterns import BadPattern, parse_pattern
from ropewalk.errors import NetworkDenied, PermissionDenied
from ropewalk.wire.control import OptionField, ToolInfo
from ropewalk.wire.messages import Fetch
from tests.answers.authors import MANIFEST, Author
from tests.egress.origin import serving


def declaring(session: Session, options: bytes) -> Session:
    """Return the same attempt of a version whose Network tool has these options."""
    tools = [ToolInfo(ns="web", kind="Network", options=options), ToolInfo(ns="plot", kind="Plot")]
    return Session(session.host, session.claim, replace(MANIFEST, tools=tools))


def asking(url: str, ns: str = "web") -> Fetch:
    return Fetch(id=1, ns=ns, method="GET", url=url, headers=[])


async def test_declared_url_is_fetched(author: Author) -> None:
    async with serving() as origin:
        fetcher = Fetcher(private=[parse_pattern(f"{origin.url}/*")])
        author.session.host = replace(author.session.host, fetcher=fetcher)
        await fetcher.start()
        session = declaring(author.session, b'{"urls":["%s/*"]}' % origin.url.encode())
        assert (await network.fetch(session, asking(f"{origin.url}/x"))).status == 200
        await fetcher.stop()


async def test_undeclared_url_is_not(author: Author) -> None:
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
        network.check_declared(MANIFEST, ToolInfo(ns="web", kind="Network", options=options))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(b"{}", ["https://default.test/*"]), (b'{"base":"http://own.test:8080/"}', ["http://own.test:8080/*"])],
)
def test_pattern_may_name_an_option(given: bytes, expected: list[str]) -> None:
    option = OptionField(ns="", name="base", type="string", annotation="str", required=False, default=b'"https://default.test"')
    tool = ToolInfo(ns="web", kind="Network", options=b'{"urls":["{base}/*"]}')
    patterns = network.declared_patterns(replace(MANIFEST, options=[option]), tool, given)
    assert [pattern.text for pattern in patterns] == expected


@pytest.mark.parametrize("given", [b'{"base":"*"}', b'{"base":null}', b'{"base":"example.com"}', b'{"base":true}', b"{}"])
def test_option_that_makes_no_pattern(given: bytes) -> None:
    option = OptionField(ns="", name="base", type="string", annotation="str", required=True)
    tool = ToolInfo(ns="web", kind="Network", options=b'{"urls":["{base}/*"]}')
    with pytest.raises(BadPattern):
        network.declared_patterns(replace(MANIFEST, options=[option]), tool, given)
