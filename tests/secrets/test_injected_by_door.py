"""Secrets that ordinary HTTP clients never see: the host adds them to what goes out by the door, and takes them out of what comes back."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from ropewalk.storage.records import LogQuery
from tests.egress.origin import Connection
from tests.harness.door import needs_door
from tests.replay.reading import last_execution, last_record
from tests.secrets.kept import PIN, TOKEN, Kept

pytestmark = [pytest.mark.asyncio(loop_scope="session"), needs_door]


async def test_the_server_sees_it_where_it_is_for_and_nowhere_else(kept: Kept) -> None:
    await kept.call("ask", f"{kept.origin.url}/api/items", {"Authorization": "mine"})
    assert kept.origin.requests[-1].header("authorization") == f"Bearer {TOKEN}"
    answer = await kept.call("ask", f"{kept.origin.url}/query/items?page=2&api_key=mine")
    assert kept.origin.requests[-1].line == "GET /query/items?page=2&api_key=eeff0c%3D%2B%2FA9e1f5_kot HTTP/1.1"
    assert answer["url"].endswith("/query/items?page=2&api_key=mine")
    for url in (f"{kept.origin.url}/open", f"{kept.other.url}/api/items"):
        await kept.call("ask", url)
    assert kept.other.requests[-1].header("authorization") is None
    assert kept.origin.requests[-1].header("authorization") is None


async def test_an_answer_that_repeats_it_in_pieces_is_blanked(kept: Kept) -> None:
    async def parrot(connection: Connection) -> None:
        said = (connection.header("authorization") or "").encode()
        await connection.write(b"HTTP/1.1 200 OK\r\nX-Echo: " + said + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for letter in said * 3:
            await connection.write(b"1\r\n" + bytes([letter]) + b"\r\n")
        await connection.write(b"0\r\n\r\n")

    kept.origin.on("/api/parrot", parrot)
    answer = await kept.call("ask", f"{kept.origin.url}/api/parrot", {"Accept-Encoding": "gzip"})
    assert kept.origin.requests[-1].header("accept-encoding") == "identity"
    assert answer["body"] == f"Bearer {'*' * len(TOKEN)}" * 3
    assert TOKEN not in json.dumps(answer)


async def test_its_record_has_none(kept: Kept) -> None:
    await kept.call("ask", f"{kept.origin.url}/query/items")
    record = await last_record(kept.runtime, await last_execution(kept.runtime, kept.instance, "ask"))
    everything = b"".join(map(bytes, [*record.messages, *record.exchanges]))
    assert b"/query/items" in everything
    assert TOKEN[::-1].encode() not in everything
    assert [one.url for one in record.sent] == [f"{kept.origin.url}/query/items"]


async def test_what_the_host_logs_of_a_refusal_has_none(kept: Kept) -> None:
    await kept.call("gossip")
    lines = [line.line.message for line in await kept.runtime.storage.logs(LogQuery(instance=kept.instance))]
    assert any("GET http://undeclared.example/***: NetworkDenied" in line for line in lines), lines
    assert not any(quote(PIN) in line for line in lines)
