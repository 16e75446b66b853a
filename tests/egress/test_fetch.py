"""Requests that are really sent, to real servers on loopback."""

from __future__ import annotations

import asyncio
import errno
import gzip
import math
import socket
import zlib
from typing import Any

import pytest
from msgspec.structs import replace

from ropewalk.egress.bodies import SMALL, Turn
from ropewalk.egress.connections import Bounds
from ropewalk.egress.fetch import Asker, Fetcher
from ropewalk.egress.hops import Hop, Request, first_hop
from ropewalk.egress.lines import Line, connect
from ropewalk.egress.patterns import parse_pattern
from ropewalk.errors import FetchTimeout, InvalidValue, NetworkDenied, NetworkError, ValueTooLarge
from ropewalk.vault.redaction import Redactor
from tests.egress.conftest import Client
from tests.egress.origin import Connection, Origin


async def test_request_is_sent_as_it_was_judged(client: Client, origin: Origin) -> None:
    answer = await client.send(method="post", url=f"{origin.url}/a/../b%2fc?q=ü#f", headers=[("X-One", "1")], body=b"hello")
    assert answer.status == 200
    assert answer.url == f"{origin.url}/b%2fc?q=%C3%BC"
    head, _, body = answer.body.partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[:2] == [b"POST /b%2fc?q=%C3%BC HTTP/1.1", b"host: 127.0.0.1:%d" % origin.port]
    assert body == b"hello"
    sent = {line.partition(b": ")[0]: line.partition(b": ")[2] for line in head.split(b"\r\n")[1:]}
    assert sent[b"x-one"] == b"1"
    assert sent[b"content-length"] == b"5"
    assert sent[b"user-agent"] == b"ropewalk"


async def test_authors_headers_replace_the_defaults(client: Client, origin: Origin) -> None:
    answer = await client.get(
        f"{origin.url}/", headers=[("Accept", "text/plain"), ("User-Agent", "mine"), ("X-T", "a"), ("X-T", "b")]
    )
    assert answer.body.count(b"accept: ") == 1
    assert b"user-agent: mine\r\n" in answer.body
    assert b"x-t: a\r\nx-t: b\r\n" in answer.body


async def test_headers_come_as_they_were_sent(client: Client, origin: Origin) -> None:
    async def twice(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nSET-COOKIE: b\r\nContent-Length: 0\r\n\r\n")

    answer = await client.get(origin.on("/twice", twice))
    assert answer.headers[:2] == [("Set-Cookie", "a"), ("SET-COOKIE", "b")]


async def test_no_cookies_are_kept(client: Client, origin: Origin) -> None:
    await client.get(origin.on("/set", lambda connection: connection.answer(set_cookie="a=1")))
    assert b"cookie" not in (await client.get(f"{origin.url}/")).body


async def test_environment_has_no_say(client: Client, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert (await client.get(f"{origin.url}/")).status == 200


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization", "Upgrade", "TE", "Expect"]
)
async def test_guards_own_headers_are_refused(client: Client, origin: Origin, name: str) -> None:
    with pytest.raises(NetworkDenied, match="set by the runtime"):
        await client.get(f"{origin.url}/", headers=[(name, "x")])
    assert not origin.requests


@pytest.mark.parametrize(
    "header", [("a b", "x"), ("", "x"), ("é", "x"), ("x:", "y"), ("x", "a\r\nb"), ("x", "a\nb"), ("x", "\0"), ("x", "€")]
)
async def test_malformed_headers_are_refused(client: Client, origin: Origin, header: tuple[str, str]) -> None:
    with pytest.raises(InvalidValue):
        await client.get(f"{origin.url}/", headers=[header])


async def test_long_headers_are_refused(client: Client, origin: Origin) -> None:
    with pytest.raises(ValueTooLarge, match="65,536"):
        await client.get(f"{origin.url}/", headers=[("x", "y" * 70_000)])


@pytest.mark.parametrize(
    ("method", "error"), [("CONNECT", NetworkDenied), ("TRACE", NetworkDenied), ("G T", InvalidValue), ("", InvalidValue)]
)
async def test_methods_that_are_refused(client: Client, origin: Origin, method: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        await client.send(method=method, url=f"{origin.url}/")


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf])
async def test_timeouts_that_are_none(client: Client, origin: Origin, timeout: float) -> None:
    with pytest.raises(InvalidValue):
        await client.get(f"{origin.url}/", timeout=timeout)


# ── What may be reached ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_undeclared_url_is_denied(client: Client, origin: Origin) -> None:
    client.declare("https://api.example.com/*")
    with pytest.raises(NetworkDenied, match=r"matches no URL pattern .*api\.example\.com.*Network\(urls"):
        await client.get(f"{origin.url}/?token=hush")
    assert not origin.requests


async def test_declared_private_address_is_denied_unless_the_operator_allows_it(origin: Origin) -> None:
    patterns = (parse_pattern(f"{origin.url}/*"),)
    fetcher = Fetcher()
    await fetcher.start()
    with pytest.raises(NetworkDenied, match=rf"loopback \(127\.0\.0\.0/8\).*ROPEWALK_ALLOW_PRIVATE={origin.url}/\*"):
        await fetcher.fetch(Request(method="GET", url=f"{origin.url}/"), Asker(tenant="one", declared=patterns))
    await fetcher.stop()
    assert not origin.accepted


async def test_name_that_leads_to_a_private_address_is_denied(client: Client, origin: Origin) -> None:
    client.declare("*")
    client.names["rebind.test"] = ["93.184.216.34", "127.0.0.1"]
    with pytest.raises(NetworkDenied, match="leads to an address that is not public"):
        await client.get("http://rebind.test/")


async def test_message_tells_no_address(client: Client) -> None:
    client.declare("*")
    client.names["intern.test"] = ["10.11.12.13"]
    with pytest.raises(NetworkDenied) as denied:
        await client.get("http://intern.test/")
    assert "10.11.12.13" not in str(denied.value)


async def test_name_is_resolved_once_for_a_connection(client: Client, origin: Origin) -> None:
    """The connection goes to the address that was judged, whatever the name would say when asked again."""
    client.names["named.test"] = ["127.0.0.1"]
    url = f"http://named.test:{origin.port}/"
    assert b"host: named.test:%d" % origin.port in (await client.get(url)).body
    client.names["named.test"] = ["192.0.2.1"]
    await client.get(url)
    assert client.resolved == ["named.test"]
    assert origin.accepted == 1


async def test_second_address_is_tried(client: Client, origin: Origin) -> None:
    client.names["named.test"] = ["127.0.0.2", "127.0.0.1"]
    assert (await client.get(f"http://named.test:{origin.port}/")).status == 200


async def test_unknown_name(client: Client, origin: Origin) -> None:
    with pytest.raises(NetworkError, match=r"named\.test cannot be resolved"):
        await client.get(f"http://named.test:{origin.port}/")


async def test_system_resolver_is_asked(origin: Origin) -> None:
    patterns = (parse_pattern(f"http://localhost:{origin.port}/*"),)
    fetcher = Fetcher(private=patterns)
    await fetcher.start()
    answer = await fetcher.fetch(
        Request(method="GET", url=f"http://localhost:{origin.port}/"), Asker(tenant="one", declared=patterns)
    )
    await fetcher.stop()
    assert answer.status == 200


# ── Connections ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_connection_is_kept_for_its_tenant_alone(client: Client, origin: Origin) -> None:
    for _ in range(3):
        await client.get(f"{origin.url}/", tenant="one")
    await client.get(f"{origin.url}/", tenant="two")
    assert [request.number for request in origin.requests] == [1, 1, 1, 2]


async def test_redirects_are_followed_on_the_same_connection(client: Client, origin: Origin) -> None:
    await client.get(origin.redirect("/away", "/here"))
    assert [request.number for request in origin.requests] == [1, 1]


async def test_connection_on_which_more_was_said_than_asked_for_is_not_used_again(client: Client, origin: Origin) -> None:
    async def say_more(connection: Connection) -> None:
        await connection.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        )

    assert (await client.get(origin.on("/more", say_more))).body == b"ok"
    assert b"GET /next" in (await client.get(f"{origin.url}/next")).body
    assert [request.number for request in origin.requests] == [1, 2]


async def test_connection_that_the_server_closed_is_not_used_again(client: Client, origin: Origin) -> None:
    closed = asyncio.Event()

    async def answer_and_go(connection: Connection) -> None:
        await connection.answer()
        connection.reset()
        closed.set()

    await client.get(origin.on("/once", answer_and_go))
    await closed.wait()
    assert (await client.get(f"{origin.url}/next")).status == 200
    assert [request.number for request in origin.requests] == [1, 2]


async def test_connections_to_many_servers_are_bounded(client: Client, origin: Origin) -> None:
    client.declare(*(f"http://n{number}.test:{origin.port}/*" for number in range(30)))
    client.fetcher.private = client.declared
    for number in range(30):
        client.names[f"n{number}.test"] = ["127.0.0.1"]
        await client.get(f"http://n{number}.test:{origin.port}/")
    assert len(client.fetcher._tenants["one"]._idle) == Bounds().connections
    for number in (29, 10, 9):  # the last of which was kept no longer
        await client.get(f"http://n{number}.test:{origin.port}/")
    assert origin.accepted == 31


async def test_address_that_says_nothing_is_given_up_for_the_next(monkeypatch: pytest.MonkeyPatch, origin: Origin) -> None:
    async def two(host: str, port: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    async def reach(address: str, *where: Any) -> Line:
        if address == "127.0.0.2":
            await asyncio.Event().wait()
        return await connect(address, *where)

    monkeypatch.setattr("ropewalk.egress.connections._PATIENCE", 0.01)
    patterns = (parse_pattern(f"http://named.test:{origin.port}/*"),)
    fetcher = Fetcher(private=patterns, resolve=two, connect=reach)
    await fetcher.start()
    asker = Asker(tenant="one", declared=patterns)
    assert (await fetcher.fetch(Request(method="GET", url=f"http://named.test:{origin.port}/"), asker)).status == 200
    await fetcher.stop()


async def test_private_connection_serves_no_url_that_must_be_public(origin: Origin) -> None:
    declared = (parse_pattern(f"{origin.url}/*"),)
    fetcher = Fetcher(private=(parse_pattern(f"{origin.url}/open/*"),))
    await fetcher.start()
    await fetcher.fetch(Request(method="GET", url=f"{origin.url}/open/x"), Asker(tenant="one", declared=declared))
    with pytest.raises(NetworkDenied, match="not public"):
        await fetcher.fetch(Request(method="GET", url=f"{origin.url}/closed"), Asker(tenant="one", declared=declared))
    await fetcher.stop()
    assert len(origin.requests) == 1


async def test_idle_connections_are_closed(origin: Origin) -> None:
    patterns = (parse_pattern(f"{origin.url}/*"),)
    closed = asyncio.Event()

    async def note_the_end(connection: Connection) -> None:
        await connection.answer()
        await connection.wait_until_gone()
        closed.set()

    fetcher = Fetcher(private=patterns, bounds=Bounds(idle=0.02))
    await fetcher.start()
    await fetcher.fetch(Request(method="GET", url=origin.on("/", note_the_end)), Asker(tenant="one", declared=patterns))
    await asyncio.wait_for(closed.wait(), 10)
    await fetcher.stop()


async def test_stop_closes_connections(client: Client, origin: Origin) -> None:
    closed = asyncio.Event()

    async def note_the_end(connection: Connection) -> None:
        await connection.answer()
        await connection.wait_until_gone()
        closed.set()

    await client.get(origin.on("/", note_the_end))
    await client.fetcher.stop()
    await asyncio.wait_for(closed.wait(), 10)


async def test_stop_ends_requests_under_way(client: Client, origin: Origin) -> None:
    started = asyncio.Event()

    async def hang(connection: Connection) -> None:
        started.set()
        await connection.wait_until_gone()

    task = asyncio.create_task(client.get(origin.on("/hang", hang)))
    await started.wait()
    await client.fetcher.stop()
    with pytest.raises(NetworkError):
        await task


async def test_tenants_beyond_the_bound_are_let_go(origin: Origin) -> None:
    patterns = (parse_pattern(f"{origin.url}/*"),)
    fetcher = Fetcher(private=patterns, bounds=Bounds(idle=0.05, tenants=2))
    await fetcher.start()
    url = f"{origin.url}/"
    hanging = asyncio.Event()

    async def hang(connection: Connection) -> None:
        await hanging.wait()
        await connection.answer()

    first = asyncio.create_task(
        fetcher.fetch(Request(method="GET", url=origin.on("/hang", hang)), Asker(tenant="0", declared=patterns))
    )
    for number in range(1, 5):
        await fetcher.fetch(Request(method="GET", url=url), Asker(tenant=f"{number}", declared=patterns))
    while len(fetcher._tenants) > 1:
        await asyncio.sleep(0.01)
    hanging.set()
    assert (await first).status == 200
    await fetcher.stop()


# ── Who asks ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_leaves_when_leave_ends_while_connecting(client: Client, origin: Origin) -> None:
    class OverError(Exception):
        pass

    def look() -> None:
        if client.resolved:
            raise OverError

    client.names["named.test"] = ["127.0.0.1"]
    asker = client.asker(about_to_send=look)
    await client.fetcher.fetch(Request(method="GET", url=f"{origin.url}/"), asker)
    with pytest.raises(OverError):
        await client.fetcher.fetch(Request(method="POST", url=f"http://named.test:{origin.port}/", body=b"x"), asker)
    assert len(origin.requests) == 1


async def test_what_the_host_adds_is_added_to_each_hop_by_itself(client: Client, origin: Origin, secure: Origin) -> None:
    def complete(hop: Hop) -> Hop:
        if hop.url.path != "/first":
            return hop
        return replace(hop, url=replace(hop.url, query="key=hush"), headers=[*hop.headers, (b"authorization", b"Bearer x")])

    url = origin.redirect("/first", "/second")
    answer = await client.fetcher.fetch(Request(method="GET", url=url), client.asker(complete=complete))
    first, second = origin.requests
    assert first.line == "GET /first?key=hush HTTP/1.1"
    assert first.header("authorization") == "Bearer x"
    assert second.header("authorization") is None
    assert answer.url == f"{origin.url}/second"


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_name_of_the_url_is_verified_and_sent(client: Client, secure: Origin) -> None:
    client.names["api.secure.test"] = ["127.0.0.1"]
    answer = await client.get(f"https://api.secure.test:{secure.port}/")
    assert b"host: api.secure.test:%d" % secure.port in answer.body


async def test_wrong_certificate(client: Client, secure: Origin) -> None:
    client.declare(f"https://other.test:{secure.port}/*")
    client.fetcher.private = client.declared
    client.names["other.test"] = ["127.0.0.1"]
    with pytest.raises(
        NetworkError, match=r"certificate.*ask for it under a name that its certificate has, which other\.test is not"
    ):
        await client.get(f"https://other.test:{secure.port}/")
    assert not secure.requests


async def test_unknown_authority(secure: Origin) -> None:
    patterns = (parse_pattern(f"{secure.url}/*"),)
    fetcher = Fetcher(private=patterns)
    await fetcher.start()
    with pytest.raises(NetworkError, match=r"certificate.*mend its certificate.*SSL_CERT_FILE"):
        await fetcher.fetch(Request(method="GET", url=f"{secure.url}/"), Asker(tenant="one", declared=patterns))
    await fetcher.stop()


async def test_plain_server_behind_https(client: Client) -> None:
    async def answer_at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer_at_once, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client.declare(f"https://127.0.0.1:{port}/*")
    client.fetcher.private = client.declared
    with pytest.raises(NetworkError, match=rf"SSL.*see whether the server speaks TLS on port {port}"):
        await client.get(f"https://127.0.0.1:{port}/")
    server.close()


async def test_body_that_ends_with_its_connection(client: Client, origin: Origin, secure: Origin) -> None:
    async def until_it_closes(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000)
        connection.close()

    for server in (origin, secure):
        assert (await client.get(server.on("/all", until_it_closes))).body == b"x" * 300_000


async def test_handshake_that_never_ends(client: Client) -> None:
    closed = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client.declare(f"https://127.0.0.1:{port}/*")
    client.fetcher.private = client.declared
    with pytest.raises(FetchTimeout):
        await client.get(f"https://127.0.0.1:{port}/", timeout=0.1)
    await asyncio.wait_for(closed.wait(), 10)
    server.close()


# ── Redirects ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_redirects_are_followed(client: Client, origin: Origin) -> None:
    origin.redirect("/a", "/b")
    origin.redirect("/b", "c?x=1")
    answer = await client.get(f"{origin.url}/a")
    assert answer.url == f"{origin.url}/c?x=1"


async def test_five_redirects_are_followed_and_six_are_not(client: Client, origin: Origin) -> None:
    for number in range(6):
        origin.redirect(f"/{number}", f"/{number + 1}")
    assert (await client.get(f"{origin.url}/1")).url == f"{origin.url}/6"
    with pytest.raises(NetworkError, match="more than 5 redirects"):
        await client.get(f"{origin.url}/0")


async def test_redirect_loop(client: Client, origin: Origin) -> None:
    origin.redirect("/loop", "/loop")
    with pytest.raises(NetworkError, match="redirects"):
        await client.get(f"{origin.url}/loop")
    assert len(origin.requests) == 6


@pytest.mark.parametrize(
    "location",
    ["http://evil.test/", "//evil.test/", "http://user@127.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd", "/\\x"],
)
async def test_redirect_is_judged_like_a_request(client: Client, origin: Origin, location: str) -> None:
    with pytest.raises(NetworkDenied):
        await client.get(origin.redirect("/out", location))
    assert len(origin.requests) == 1


async def test_redirect_to_a_private_address(client: Client, origin: Origin) -> None:
    client.declare(f"{origin.url}/*", "*")
    client.names["metadata.test"] = ["169.254.169.254"]
    with pytest.raises(NetworkDenied, match="not public"):
        await client.get(origin.redirect("/out", "http://metadata.test/"))


async def test_redirect_from_https_to_http(client: Client, origin: Origin, secure: Origin) -> None:
    with pytest.raises(NetworkDenied, match="from https to http"):
        await client.get(secure.redirect("/down", f"{origin.url}/"))
    assert not origin.requests


async def test_credentials_stay_with_their_origin(client: Client, origin: Origin, secure: Origin) -> None:
    headers = [("Authorization", "Bearer x"), ("Cookie", "a=1"), ("X-Api-Key", "k"), ("X-Kind", "kept")]
    answer = await client.get(origin.redirect("/away", f"{secure.url}/"), headers=headers)
    assert b"x-kind: kept" in answer.body
    assert not any(name in answer.body for name in (b"authorization", b"cookie", b"x-api-key"))


async def test_credentials_go_on_within_an_origin(client: Client, origin: Origin) -> None:
    answer = await client.get(origin.redirect("/away", "/here"), headers=[("Authorization", "Bearer x")])
    assert b"authorization: Bearer x" in answer.body


@pytest.mark.parametrize(
    ("status", "method", "expected"),
    [
        (301, "POST", "GET"),
        (302, "POST", "GET"),
        (303, "POST", "GET"),
        (303, "PUT", "GET"),
        (303, "HEAD", "HEAD"),
        (307, "POST", "POST"),
        (308, "PUT", "PUT"),
        (301, "PUT", "PUT"),
        (302, "GET", "GET"),
    ],
)
async def test_method_after_a_redirect(client: Client, origin: Origin, status: int, method: str, expected: str) -> None:
    body = b"x" if method in ("POST", "PUT") else b""
    url = origin.redirect("/away", "/here", status)
    await client.send(method=method, url=url, headers=[("Content-Type", "text/plain")], body=body)
    last = origin.requests[-1]
    assert last.line.startswith(f"{expected} /here ")
    assert last.body == (body if expected == method else b"")
    assert (last.header("content-type") is None) == (expected != method)


async def test_answer_that_only_looks_like_a_redirect(client: Client, origin: Origin) -> None:
    assert (await client.get(origin.on("/a", lambda connection: connection.answer(302)))).status == 302
    assert (await client.get(origin.redirect("/b", "/x", status=304))).status == 304


async def test_connection_that_leads_elsewhere_is_not_used() -> None:
    class Elsewhere(Letters):
        peer = "10.0.0.1"

        async def write(self, data: bytes) -> None:
            raise AssertionError("something was sent")

    async def somewhere(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    async def connect_to(*_: object) -> Line:
        return Elsewhere(b"", 1)

    await _fails_with("does not lead to the address that was checked", resolve=somewhere, connect=connect_to)


# ── Bodies ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def zip_raw(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


TEXT = b"the rope is walked " * 1000


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", zip_raw(TEXT)),
        ("gzip", gzip.compress(TEXT[:9500]) + gzip.compress(TEXT[9500:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 100),
        ("identity", TEXT),
    ],
)
async def test_body_is_decompressed(client: Client, origin: Origin, encoding: str, body: bytes) -> None:
    url = origin.on("/zip", lambda connection: connection.answer(body=body, content_encoding=encoding))
    assert (await client.get(url)).body == TEXT


@pytest.mark.parametrize("body", [b"not gzip", gzip.compress(TEXT, mtime=0)[:-20], b"\x1f\x8b"], ids=["none", "cut", "two bytes"])
async def test_body_that_is_not_compressed_as_it_says(client: Client, origin: Origin, body: bytes) -> None:
    url = origin.on("/zip", lambda connection: connection.answer(body=body, content_encoding="gzip"))
    with pytest.raises(NetworkError, match="compressed"):
        await client.get(url)


async def test_empty_body_with_an_encoding(client: Client, origin: Origin) -> None:
    url = origin.on("/zip", lambda connection: connection.answer(content_encoding="gzip"))
    assert (await client.get(url)).body == b""


@pytest.mark.parametrize("size", [1_000_000, 999_999])
async def test_largest_body(client: Client, origin: Origin, size: int) -> None:
    assert len((await client.get(origin.on("/large", lambda connection: connection.answer(body=b"x" * size)))).body) == size


async def test_announced_body_that_is_too_large(client: Client, origin: Origin) -> None:
    async def announce(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n")
        await connection.wait_until_gone()

    with pytest.raises(ValueTooLarge, match="more than 1,000,000 bytes"):
        await client.get(origin.on("/large", announce))


async def test_endless_body(client: Client, origin: Origin) -> None:
    async def flood(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await connection.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    with pytest.raises(ValueTooLarge, match="page or a range"):
        await client.get(origin.on("/flood", flood))


async def test_compressed_bomb(client: Client, origin: Origin) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with pytest.raises(ValueTooLarge):
        await client.get(origin.on("/bomb", lambda connection: connection.answer(body=bomb, content_encoding="gzip")))


async def test_large_bodies_for_one_guest_are_read_one_at_a_time(client: Client, origin: Origin) -> None:
    """Else twenty of them would be held at once: while one is large the others stop where small ones end."""
    size, half = 3 * SMALL, asyncio.Event()
    go_on = asyncio.Event()
    turns = {"one": Turn(), "two": Turn()}
    ended: list[str] = []

    async def slow(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size - 1))
        half.set()
        await go_on.wait()
        await connection.write(b"x")

    async def get(path: str, tenant: str = "one") -> None:
        answer = await fetcher.fetch(Request(method="GET", url=origin.url + path), client.asker(tenant, turn=turns[tenant]))
        assert set(answer.body) == {ord("x")}
        ended.append(f"{tenant}{path}")
        turns[tenant].end()

    origin.on("/slow", slow)
    origin.on("/large", lambda connection: connection.answer(body=b"x" * size))
    origin.on("/small", lambda connection: connection.answer(body=b"x" * SMALL))
    fetcher = Fetcher(private=client.declared)
    await fetcher.start()
    async with asyncio.TaskGroup() as group:
        group.create_task(get("/slow"))
        await half.wait()
        group.create_task(get("/large"))
        await get("/large", tenant="two")
        await get("/small")
        go_on.set()
    await fetcher.stop()
    assert ended == ["two/large", "one/small", "one/slow", "one/large"]


async def test_head_may_announce_anything(client: Client, origin: Origin) -> None:
    async def announce(connection: Connection) -> None:
        await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")

    assert (await client.send(method="HEAD", url=origin.on("/large", announce))).body == b""


class Letters:
    """A line on which an answer comes in pieces of so many bytes."""

    peer = "93.184.216.34"

    def __init__(self, answer: bytes, size: int) -> None:
        self._pieces = [answer[start : start + size] for start in range(0, len(answer), size)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def write(self, data: bytes) -> None:
        pass

    def is_quiet(self) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7, 11, 20, 1000])
async def test_a_secret_in_a_streamed_answer_is_blanked_wherever_it_is_cut(size: int) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return [Letters.peer]

    async def connect_to(*_: object) -> Line:
        return Letters(b"HTTP/1.1 200 OK\r\nX-Echo: hush-hush\r\n\r\nhush-hush,hush-hushhush-hush and hush-hus hush-hush", size)

    fetcher = Fetcher(resolve=resolve, connect=connect_to)
    await fetcher.start()
    asker = Asker(tenant="one", declared=(parse_pattern("http://api.test/*"),))
    async with fetcher.exchange(first_hop(Request(method="GET", url="http://api.test/")), asker) as exchange:
        exchange.blank(Redactor(["hush-hush"]))
        body = b"".join([chunk async for chunk in exchange.chunks()])
    await fetcher.stop()
    assert exchange.header(b"x-echo") == "*" * 9
    assert body == b"*********,****************** and hush-hus *********"


# ── Servers that misbehave ────────────────────────────────────────────────────────────────────────────────────────────────────


async def silent(connection: Connection) -> None:
    await connection.wait_until_gone()


async def trickle(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        await connection.write(b"X: y\r\n")
        await asyncio.sleep(0.01)


async def endless_interim(connection: Connection) -> None:
    while True:
        await connection.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("script", [silent, trickle, endless_interim])
async def test_timeout_covers_everything(client: Client, origin: Origin, script: object) -> None:
    with pytest.raises(FetchTimeout, match=r"GET http://127\.0\.0\.1:\d+/slow took longer than its timeout of 0\.2 s"):
        await client.get(origin.on("/slow", script), timeout=0.2)  # type: ignore[arg-type]  # one of the scripts


async def test_timeout_ends_the_resolving(client: Client, origin: Origin) -> None:
    async def never(host: str, port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    patterns = (parse_pattern("http://slow.test/*"),)
    fetcher = Fetcher(resolve=never)
    await fetcher.start()
    with pytest.raises(FetchTimeout):
        await fetcher.fetch(Request(method="GET", url="http://slow.test/", timeout=0.05), Asker(tenant="one", declared=patterns))
    await fetcher.stop()


async def reset(connection: Connection) -> None:
    connection.reset()


async def half_a_body(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    connection.reset()


async def no_http(connection: Connection) -> None:
    await connection.write(b"SSH-2.0-OpenSSH_9.0\r\n\r\n")


async def huge_headers(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n")


async def bad_length(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n")


async def two_lengths(connection: Connection) -> None:
    await connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")


@pytest.mark.parametrize("script", [reset, half_a_body, no_http, huge_headers, bad_length, two_lengths])
async def test_broken_answers(client: Client, origin: Origin, script: object) -> None:
    with pytest.raises(NetworkError, match=r"GET http://127\.0\.0\.1:\d+/broken failed: .*: .*try again later") as raised:
        await client.get(origin.on("/broken", script))  # type: ignore[arg-type]  # one of the scripts
    assert not isinstance(raised.value, FetchTimeout)


async def test_nothing_listens(client: Client, origin: Origin) -> None:
    client.declare("http://127.0.0.1:1/*")
    client.fetcher.private = client.declared
    with pytest.raises(
        NetworkError, match=r"Connection refused: nothing listens on port 1 there: .* try again when the server is up"
    ):
        await client.get("http://127.0.0.1:1/")


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known: see how it is spelt"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), "Temporary failure: .* try again later"),
    ],
)
async def test_name_without_an_answer(problem: OSError, told: str) -> None:
    async def fail(host: str, port: int) -> list[str]:
        raise problem

    await _fails_with(f"GET http://api.test/ failed: the name api.test cannot be resolved: {told}", resolve=fail)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (OSError(errno.ENETUNREACH, "x"), "Network is unreachable: the node has no way there: whoever operates it"),
        (OSError(errno.EHOSTUNREACH, "x"), "No route to host: the node has no way there: whoever operates it"),
        (OSError(errno.ETIMEDOUT, "x"), "Connection timed out: nobody answers on port 80 there: see whether"),
        (OSError(errno.ECONNRESET, "x"), r"Connection reset by peer: .*self\.execution\.key\(name\).*Retry\(after=…\)"),
    ],
)
async def test_way_that_the_system_does_not_find(problem: OSError, told: str) -> None:
    async def somewhere(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    async def broken(*_: object) -> Line:
        raise problem

    await _fails_with(f"GET http://api.test/ failed: {told}", resolve=somewhere, connect=broken)


async def _fails_with(told: str, **parts: Any) -> None:
    """Fetch http://api.test/ with a fetcher of these parts, which has to fail so."""
    fetcher = Fetcher(**parts)
    await fetcher.start()
    with pytest.raises(NetworkError, match=told):
        await fetcher.fetch(
            Request(method="GET", url="http://api.test/"), Asker(tenant="one", declared=(parse_pattern("http://api.test/*"),))
        )
    await fetcher.stop()


async def test_next_request_is_well_after_a_broken_one(client: Client, origin: Origin) -> None:
    for script in (reset, half_a_body, no_http):
        with pytest.raises(NetworkError):
            await client.get(origin.on("/broken", script))
        assert (await client.get(f"{origin.url}/")).status == 200


async def test_many_at_once(client: Client, origin: Origin) -> None:
    answers = await asyncio.gather(*(client.get(f"{origin.url}/{number}") for number in range(60)))
    assert all(b"GET /%d " % number in answer.body for number, answer in enumerate(answers))
    assert origin.accepted <= Bounds().connections


async def test_cancelled_request_lets_go(client: Client, origin: Origin) -> None:
    started = asyncio.Event()

    async def hang(connection: Connection) -> None:
        started.set()
        await connection.wait_until_gone()

    task = asyncio.create_task(client.get(origin.on("/hang", hang)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await client.get(f"{origin.url}/")).status == 200
