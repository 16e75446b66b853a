"""Requests of ordinary clients, from inside: what passes, what is refused, and who is told."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest

from ropewalk.service.membership import Membership
from tests.door.conftest import PROBE, Probe
from tests.door.origin import PIECE, Origin
from tests.egress.origin import CERTIFICATES
from tests.harness.runtime import Runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1024 * 1024


# ── What passes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_request_arrives_as_it_was_made(probe: Probe, secure: Origin) -> None:
    body = """
    asked = urllib.request.Request(given + "/echo?a=%20b", b"body", {"X-Own": "1", "Cookie": "a=b"}, method="PATCH")
    with urllib.request.urlopen(asked) as answer:
        return answer.status, answer.read().decode()
    """
    status, text = await probe.do(body, secure.url)
    assert status == 200
    for part in ('"method":"PATCH"', f'"url":"{secure.url}/echo?a=%20b"', '"x-own":"1"', '"cookie":"a=b"', '"size":4'):
        assert part in text
    assert "proxy" not in text


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_one_connection_takes_request_after_request(probe: Probe, plain: Origin, secure: Origin, tls: bool) -> None:
    body = """
    connection = tunnel(given) if given.startswith("https") else door()
    base = "" if given.startswith("https") else given
    found = []
    for method, path in [("GET", "/echo"), ("HEAD", "/echo"), ("DELETE", "/status/204"), ("GET", "/status/304"), ("POST", "/echo")]:
        connection.request(method, base + path)
        used = connection.sock
        answer = connection.getresponse()
        found.append([answer.status, len(answer.read()) > 0, connection.sock is used])
    return found
    """
    found = await probe.do(body, secure.url if tls else plain.url)
    assert found == [[200, True, True], [200, False, True], [204, False, True], [304, False, True], [200, True, True]]


async def test_large_bodies_pass_piece_by_piece(probe: Probe, secure: Origin) -> None:
    body = """
    def pieces():
        for number in range(20):
            yield bytes([number]) * (1024 * 1024)
    connection = tunnel(given)
    connection.request("PUT", "/echo", body=pieces(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
    sent = connection.getresponse().read().decode()
    connection.request("GET", "/stream?pieces=300")
    answer, size = connection.getresponse(), 0
    while piece := answer.read(65536):
        size += len(piece)
    return sent, size
    """
    sent, size = await probe.do(body, secure.url)
    digest = hashlib.sha256(b"".join(bytes([number]) * MIB for number in range(20))).hexdigest()
    assert f'"size":{20 * MIB}' in sent
    assert digest in sent
    assert size == 300 * len(PIECE)


async def test_a_client_that_waits_for_leave_gets_it(probe: Probe, plain: Origin) -> None:
    body = """
    connection = socket.create_connection(("127.0.0.1", 3128))
    host = given.removeprefix("http://")
    connection.sendall(f"POST {given}/echo HTTP/1.1\\r\\nHost: {host}\\r\\nContent-Length: 3\\r\\nExpect: 100-continue\\r\\n\\r\\n".encode())
    leave = connection.recv(1000)
    connection.sendall(b"abc")
    return leave.decode(), connection.recv(1000).decode()
    """
    leave, answer = await probe.do(body, plain.url)
    assert leave.startswith("HTTP/1.1 100 ")
    assert answer.startswith("HTTP/1.1 200 ")


async def test_what_comes_early_is_not_lost(probe: Probe, plain: Origin) -> None:
    body = """
    connection = socket.create_connection(("127.0.0.1", 3128))
    host = given.removeprefix("http://")
    connection.sendall(f"GET {given}/echo?1 HTTP/1.1\\r\\nHost: {host}\\r\\n\\r\\n".encode() * 3)
    seen = b""
    while seen.count(b"HTTP/1.1 200") < 3:
        seen += connection.recv(10000)
    return True
    """
    assert await probe.do(body, plain.url)


# ── What is refused ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_path_that_is_not_declared_is_answered_by_the_host(probe: Probe) -> None:
    status, kind, reason = await probe.do("return refusal(given)", "http://api.example.com/below/x")
    assert (status, kind) == (403, "NetworkDenied")
    assert reason.startswith("NetworkDenied: http://api.example.com/below/x matches no URL pattern")
    assert "GET http://api.example.com/below/x: NetworkDenied: " in await probe.logs()


async def test_a_host_that_is_not_declared_gets_no_tunnel(probe: Probe) -> None:
    body = """
    try:
        get("https://example.com/")
    except urllib.error.URLError as error:
        return str(error)
    """
    assert "Tunnel connection failed: 403 NetworkDenied: https://example.com/ matches no URL pattern" in await probe.do(body)
    assert "CONNECT example.com:443: NetworkDenied: " in await probe.logs()


async def test_within_a_tunnel_each_path_is_judged(walk: Runtime, plain: Origin, secure: Origin) -> None:
    source = PROBE.replace("{secure}/*", "{secure}/echo")
    instance = await walk.run(source, plain=plain.url, secure=secure.url)
    probe = Probe(walk, instance)
    assert await probe.do("return len(get(given)) > 0", f"{secure.url}/echo?x")
    status, kind, _ = await probe.do("return refusal(given)", f"{secure.url}/stream?pieces=1")
    assert (status, kind) == (403, "NetworkDenied")
    assert secure.asked == ["/echo"]


async def test_redirects_are_requests_again(probe: Probe, plain: Origin, secure: Origin) -> None:
    assert await probe.do("return len(get(given)) > 0", f"{plain.url}/redirect?to={secure.url}/echo")
    status, kind, _ = await probe.do("return refusal(given)", f"{plain.url}/redirect?to=http://169.254.169.254/latest")
    assert (status, kind) == (403, "NetworkDenied")


async def test_a_server_that_is_not_there_is_said_to_be_so(probe: Probe, walk: Runtime) -> None:
    instance = await walk.run(PROBE, plain="http://nowhere.invalid", secure="https://nowhere.invalid")
    status, kind, reason = await Probe(walk, instance).do("return refusal(given)", "http://nowhere.invalid/")
    assert (status, kind) == (502, "NetworkError")
    assert "nowhere.invalid" in reason


@pytest.mark.parametrize(
    ("head", "status", "why"),
    [
        ("GET / HTTP/1.1\r\nHost: x", 400, "names no server"),
        ("GET {plain}/echo HTTP/1.1\r\nHost: api.example.com", 403, "the Host header says"),
        ("GET {plain}/echo HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade", 403, "WebSockets"),
        ("TRACE {plain}/echo HTTP/1.1\r\nHost: {host}", 403, "TRACE"),
        ("GET {plain}/echo HTTP/1.1\r\nHost: {host}\r\nX: a\x00b", 400, "no HTTP request"),
        ("GET ftp://example.com/ HTTP/1.1\r\nHost: example.com", 403, "was not sent"),
        ("POST {plain}/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 99999999999", 413, "33,554,432"),
        ("POST {plain}/echo HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2", 400, "no HTTP request"),
        ("CONNECT example.com HTTP/1.1\r\nHost: example.com", 400, "a host and a port"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22", 403, "matches no URL pattern"),
        ("GET {plain}/echo HTTP/1.1\r\nHost: {host}\r\nX: " + "a" * 200_000, 400, "no HTTP request"),
    ],
)
async def test_what_is_no_request_for_a_proxy_is_refused(probe: Probe, plain: Origin, head: str, status: int, why: str) -> None:
    body = """
    connection = socket.create_connection(("127.0.0.1", 3128))
    connection.sendall(given.encode() + b"\\r\\n\\r\\n")
    seen = b""
    while piece := connection.recv(10000):
        seen += piece
    return seen.decode()
    """
    answer = await probe.do(body, head.format(plain=plain.url, host=plain.url.removeprefix("http://")))
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert why in answer
    assert plain.asked == []


async def test_an_answer_that_is_too_large_breaks_off(probe: Probe, plain: Origin) -> None:
    body = """
    try:
        return len(get(given))
    except http.client.IncompleteRead as error:
        return "broken off"
    """
    assert await probe.do(body, f"{plain.url}/stream?pieces=600") == "broken off"
    assert "ValueTooLarge: the body of " in await probe.logs()


async def test_a_body_that_grows_too_large_is_refused(probe: Probe, plain: Origin) -> None:
    body = """
    connection = door()
    connection.request("PUT", given + "/echo", body=(bytes(1024 * 1024) for _ in range(40)), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})
    return connection.getresponse().status
    """
    assert await probe.do(body, plain.url) == 413


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_client_that_brings_its_own_authorities_is_served(probe: Probe, secure: Origin) -> None:
    body = """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=given["authorities"])
    with urllib.request.urlopen(given["url"], context=context) as answer:
        return answer.status
    """
    authorities = (CERTIFICATES / "authority.pem").read_text()
    assert await probe.do(body, {"url": f"{secure.url}/echo", "authorities": authorities}) == 200


async def test_a_client_that_trusts_nobody_is_told_of(probe: Probe, secure: Origin) -> None:
    body = """
    try:
        urllib.request.urlopen(given, context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    except urllib.error.URLError as error:
        return str(error)
    """
    assert "CERTIFICATE_VERIFY_FAILED" in await probe.do(body, secure.url)
    authority = secure.url.removeprefix("https://")
    assert f"a client had a tunnel made to {authority} and sent no request through it" in await probe.logs()
    assert "pin nothing" in await probe.logs()


async def test_a_client_that_pins_is_told_of(probe: Probe, secure: Origin) -> None:
    body = """
    connection = tunnel(given)
    connection.connect()
    certificate = connection.sock.getpeercert(binary_form=True)  # not the one that it expects
    connection.close()
    """
    await probe.do(body, secure.url)
    assert "sent no request through it: one that expects a certain certificate" in await probe.logs()


async def test_what_is_no_tls_is_told_of(probe: Probe, secure: Origin) -> None:
    body = """
    connection = door()
    host, _, port = given.removeprefix("https://").partition(":")
    connection.set_tunnel(host, int(port))
    connection.request("GET", "/echo")
    try:
        return connection.getresponse().status
    except (http.client.HTTPException, OSError) as error:
        return "closed"
    """
    assert await probe.do(body, secure.url) == "closed"
    assert "what it sent is no TLS" in await probe.logs()


async def test_the_host_verifies_the_server(probe: Probe, secure: Origin, walk: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await walk.stop()
    monkeypatch.delenv("SSL_CERT_FILE")
    status, kind, reason = await probe.do("return refusal(given)", f"{secure.url}/echo")
    assert (status, kind) == (502, "NetworkError")
    assert "CERTIFICATE_VERIFY_FAILED" in reason


# ── What no client reaches ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_names_and_addresses_lead_nowhere_directly(probe: Probe) -> None:
    body = """
    seen = []
    for host in ("example.com", "1.1.1.1"):
        try:
            await asyncio.open_connection(host, 443)
        except OSError as error:
            seen.append([type(error).__name__, str(error)])
    return seen
    """
    name, address = await probe.do(body)
    assert name[0] == "gaierror"
    assert "'example.com' has no address inside a twist: HTTP clients reach it by the proxy" in name[1]
    assert address[0] == "PermissionError"


async def test_a_twist_without_network_has_no_sockets(walk: Runtime) -> None:
    source = """
        import os, socket
        from ropewalk import Twist

        class Bare(Twist):
            async def attempt(self):
                try:
                    socket.socket()
                except PermissionError:
                    return "HTTP_PROXY" in os.environ
        """
    assert await walk.invoke(await walk.run(source), "attempt") is False


# ── Whose it is, and what it costs ────────────────────────────────────────────────────────────────────────────────────────────


async def test_connections_belong_to_who_made_them(walk: Runtime, plain: Origin, secure: Origin) -> None:
    """Of instances that run side by side each reaches what it declares, and not what the other one does."""
    body = """
    found = []
    for _ in range(10):
        found += [refusal(url) for url in given]
    return found
    """
    urls = [f"{plain.url}/echo", f"{secure.url}/echo"]
    nothing = "https://nothing.example.com"
    first = Probe(walk, await walk.run(PROBE, plain=plain.url, secure=nothing))
    second = Probe(walk, await walk.run(PROBE, plain="http://nothing.example.com", secure=secure.url))
    refused_tunnel = body.replace("refusal(url) for", "reached(url) for")
    reached = """
    def reached(url):
        try:
            return refusal(url)
        except urllib.error.URLError:
            return "no tunnel"
    """
    one, two = await asyncio.gather(*(each.do(reached + refused_tunnel, urls) for each in (first, second)))
    assert {str(verdict) for verdict in one[::2]} == {"None"}
    assert {str(verdict) for verdict in one[1::2]} == {"no tunnel"}
    assert all(verdict[0] == 403 for verdict in two[::2])
    assert {str(verdict) for verdict in two[1::2]} == {"None"}


async def test_a_zygote_is_nobody(walk: Runtime, plain: Origin, secure: Origin) -> None:
    """What connects while its module is imported is no attempt."""
    module = """
    import socket
    try:
        with socket.create_connection(("127.0.0.1", 3128)) as connection:
            connection.sendall(b"GET http://example.com/ HTTP/1.1\\r\\nHost: example.com\\r\\n\\r\\n")
            SEEN = connection.recv(1000).decode()
    except ConnectionError:
        SEEN = ""
    except PermissionError:  # at deploy, before it is known what the version declares
        SEEN = "no socket"
    """
    instance = await walk.run(module + PROBE, plain=plain.url, secure=secure.url)
    assert await Probe(walk, instance).do("return SEEN") == ""


async def test_every_request_counts(probe: Probe, plain: Origin) -> None:
    await probe.do("[get(given) for _ in range(7)]", f"{plain.url}/echo")
    assert (await probe.last()).requests == 7


async def test_too_many_requests_end_the_execution(probe: Probe, plain: Origin) -> None:
    error = await probe.fail("while True: get(given)", f"{plain.url}/echo")
    assert error.type == "request_limit"
    assert len(plain.asked) == 50


async def test_connections_that_ask_nothing_count_too(probe: Probe) -> None:
    error = await probe.fail("""
    while True:
        connection = socket.create_connection(("127.0.0.1", 3128))
        connection.sendall(b"no request\\r\\n\\r\\n")
        connection.recv(1000)
    """)
    assert error.type == "request_limit"


async def test_connections_at_once_are_bounded(probe: Probe) -> None:
    body = """
    open = self.kept = [socket.create_connection(("127.0.0.1", 3128)) for _ in range(70)]
    closed = 0
    for one in open[64:]:
        one.settimeout(20)
        closed += one.recv(1) == b""
    return closed
    """
    assert await probe.do(body) == 6
    assert "64 are open, which is the limit" in await probe.logs()


async def test_what_is_under_way_ends_with_the_attempt(probe: Probe, plain: Origin) -> None:
    body = """
    answer = urllib.request.urlopen(given)
    return answer.read(5).decode()
    """
    assert await probe.do(body, f"{plain.url}/wait") == "begun"
    await asyncio.wait_for(plain.broken.wait(), 10)


async def test_what_a_client_gives_up_is_given_up(probe: Probe, plain: Origin) -> None:
    body = """
    answer = urllib.request.urlopen(f"{given}/wait")
    answer.read(5)
    answer.close()
    for _ in range(40):
        if get(f"{given}/broken") == b"yes":
            return True
        await asyncio.sleep(0.05)  # until the news has got there
    """
    assert await probe.do(body, plain.url)


async def test_nothing_may_stand_still_for_long(probe: Probe, plain: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ropewalk.door.proxy.SILENCE", 0.3)
    status, kind, reason = await probe.do("return refusal(given)", f"{plain.url}/silent")
    assert (status, kind) == (504, "FetchTimeout")
    assert "nothing moved for 0.3 s" in reason


async def test_no_request_leaves_when_the_lease_is_over(
    walk: Runtime, plain: Origin, secure: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = [True]
    monkeypatch.setattr(Membership, "holds_lease", lambda _: not (over and over.pop()))
    probe = Probe(walk, await walk.run(PROBE, plain=plain.url, secure=secure.url))
    await probe.do("get(given)", f"{plain.url}/echo")
    execution = await probe.last()
    assert (execution.lost, execution.attempt) == (1, 2)
    assert len(plain.asked) == 1


async def test_strict_executions_have_a_door_too(
    opened: Callable[..., AbstractAsyncContextManager[Runtime]], plain: Origin, secure: Origin
) -> None:
    async with opened(isolation="strict", allow_private=(f"{plain.url}/*",)) as runtime:
        instance = await runtime.run(PROBE, plain=plain.url, secure=secure.url)
        assert await Probe(runtime, instance).do("return len(get(given)) > 0", f"{plain.url}/echo")
