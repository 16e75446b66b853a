"""Secrets in use: the server that they are for sees them; the twist, the database and whatever is written down do not."""

from __future__ import annotations

import base64
import gzip
import json

import pytest

from ropewalk.errors import InvalidValue
from ropewalk.sandbox.interface import RefusedImport
from ropewalk.storage.records import LogQuery
from tests.egress.origin import Connection
from tests.harness.runtime import Failed, Runtime
from tests.secrets.kept import PIN, TOKEN, Kept

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_server_sees_the_header(kept: Kept) -> None:
    await kept.call("fetch", f"{kept.origin.url}/api/items")
    assert kept.origin.requests[-1].header("authorization") == f"Bearer {TOKEN}"


async def test_the_server_sees_the_query_parameter(kept: Kept) -> None:
    answer = await kept.call("fetch", f"{kept.origin.url}/query/items?page=2&api_key=mine&api%5Fkey=too")
    assert kept.origin.requests[-1].line == "GET /query/items?page=2&api_key=eeff0c%3D%2B%2FA9e1f5_kot HTTP/1.1"
    assert answer["url"] == f"{kept.origin.url}/query/items?page=2&api_key=mine&api%5Fkey=too"


async def test_no_other_url_gets_it(kept: Kept) -> None:
    for url in (f"{kept.origin.url}/", f"{kept.origin.url}/apis/x", f"{kept.origin.url}/api", f"{kept.other.url}/api/x"):
        await kept.call("fetch", url)
    assert all(TOKEN.encode() not in request.request for request in (*kept.origin.requests, *kept.other.requests))


async def test_what_the_twist_sends_under_that_name_is_replaced_there_and_only_there(kept: Kept) -> None:
    await kept.call("fetch", f"{kept.origin.url}/api/x", {"AUTHORIZATION": "mine"})
    assert kept.origin.requests[-1].header("authorization") == f"Bearer {TOKEN}"
    assert kept.origin.requests[-1].request.lower().count(b"authorization") == 1
    await kept.call("fetch", f"{kept.origin.url}/open", {"Authorization": "mine"})
    assert kept.origin.requests[-1].header("authorization") == "mine"


async def test_a_redirect_carries_nothing_on_and_is_judged_anew(kept: Kept) -> None:
    kept.origin.redirect("/api/away", f"{kept.other.url}/api/there", 307)
    kept.origin.redirect("/api/out", "/open", 307)
    kept.other.redirect("/in", f"{kept.origin.url}/api/x", 307)
    await kept.call("fetch", f"{kept.origin.url}/api/away")
    assert kept.other.requests[-1].header("authorization") is None
    await kept.call("fetch", f"{kept.origin.url}/api/out")
    assert kept.origin.requests[-1].header("authorization") is None
    await kept.call("fetch", f"{kept.other.url}/in")
    assert kept.other.requests[-1].header("authorization") is None
    assert kept.origin.requests[-1].header("authorization") == f"Bearer {TOKEN}"


async def test_a_server_that_sends_it_on_is_not_followed(kept: Kept) -> None:
    async def leak(connection: Connection) -> None:
        await connection.answer(302, location=f"{kept.other.url}/x?{connection.line.split()[1].partition('?')[2]}")

    kept.origin.on("/query/leak", leak)
    with pytest.raises(Failed, match="was given the secret 'key' in its query, by a redirect") as caught:
        await kept.call("fetch", f"{kept.origin.url}/query/leak")
    assert TOKEN[::-1] not in str(caught.value)
    assert kept.other.requests == []


# ── What the twist gets to see ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_twist_does_not_hold_what_is_injected(kept: Kept) -> None:
    with pytest.raises(Failed, match=r"put into requests to \{base_url\}/api/\* by the host, and the twist never holds it"):
        await kept.call("reveal_token")
    assert await kept.call("pin_length") == len(PIN)
    assert await kept.call("finds", ["p1n", "-"])
    assert not await kept.call("finds", [TOKEN[:4], TOKEN[4:]])
    assert not await kept.call("finds", [TOKEN[::-1][:4], TOKEN[::-1][4:]])


async def test_nothing_that_is_printed_shows_one(kept: Kept) -> None:
    shown = await kept.call("shown")
    assert "Secret('***')" in shown[0]
    assert shown[1:] == ["***", "***", "       Secret('***')", "***"]


async def test_an_answer_that_repeats_it_is_blanked(kept: Kept) -> None:
    async def parrot(connection: Connection) -> None:
        sent = (connection.header("authorization") or "").encode()
        said = {"header": sent.decode(), "json": json.dumps(sent.decode())}
        body = connection.request + json.dumps(said).encode() + base64.b64encode(b"user:" + sent) + sent.hex().encode()
        await connection.answer(200, gzip.compress(body), content_encoding="gzip", x_echo=sent.decode())

    kept.origin.on("/api/parrot", parrot)
    answer = await kept.call("fetch", f"{kept.origin.url}/api/parrot", {"Accept-Encoding": "br"})
    assert kept.origin.requests[-1].header("accept-encoding") == "gzip, deflate"
    seen = json.dumps(answer)
    assert "Bearer ***" in seen
    assert TOKEN not in seen
    assert base64.b64encode(b"user:Bearer " + TOKEN.encode()).decode()[20:40] not in seen
    assert TOKEN.encode().hex() not in seen


async def test_what_a_twist_says_of_one_is_hidden(kept: Kept) -> None:
    error = await kept.runtime.failure(kept.instance, "say")
    assert error.message == "pin *** is wrong"
    assert PIN not in (error.traceback or "")
    lines = [line.line for line in await kept.runtime.storage.logs(LogQuery(instance=kept.instance))]
    assert [line.message for line in lines] == ["the pin is ***", "with ***"]
    assert json.loads(lines[1].fields or b"") == {"pin": "***", "deep": [{"er": "<***>"}]}


async def test_one_cannot_be_stored_by_mistake(kept: Kept) -> None:
    with pytest.raises(Failed, match="is a Secret, which has no JSON form"):
        await kept.call("keep")


# ── What is written down ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_no_file_beside_the_database_holds_one(kept: Kept) -> None:
    await kept.call("fetch", f"{kept.origin.url}/api/items")
    await kept.runtime.failure(kept.instance, "say")
    await kept.change(token="another-" + TOKEN, label="two")
    await kept.runtime.drain()
    files = [path for path in kept.runtime.database.parent.rglob("*") if path.is_file()]
    assert kept.runtime.database in files
    for path in files:
        content = path.read_bytes()
        assert not any(text.encode() in content for text in (TOKEN, TOKEN[::-1], PIN, json.dumps(PIN)[1:-1])), path


async def test_deactivation_leaves_no_key_and_no_secret(kept: Kept) -> None:
    storage = kept.runtime.storage
    assert (await storage.options(kept.instance))[1] is not None
    assert (await kept.runtime.deactivate(kept.instance)).status == "succeeded"
    assert await storage.options(kept.instance) == (b"{}", None)
    assert await storage.data_key(kept.instance) is None


# ── What is refused ───────────────────────────────────────────────────────────────────────────────────────────────────────────

DECLARED = """
    from ropewalk import Options, Secret, Twist, secret
    from ropewalk.tools import Network

    class Wanted(Options):
        base_url: str = "https://api.example.com"
        token: Secret = secret(urls=[{url!r}], header={header!r})

    class Wants(Twist):
        options: Wanted
        network = Network(urls={declared!r})
"""


@pytest.mark.parametrize(
    ("url", "declared", "header", "says"),
    [
        ("https://evil.example/*", ["https://api.example.com/*"], "X-Key", "is not within what the Network tools declare"),
        ("https://api.example.com/*", ["https://api.example.com/v1/*"], "X-Key", "is not within"),
        ("https://*.example.com", ["https://api.example.com/*"], "X-Key", "is not within"),
        ("http://api.example.com/*", ["https://api.example.com/*"], "X-Key", "is not within"),
        ("https://api.example.com/*", [], "X-Key", "is not within"),
        ("*", ["*"], "X-Key", "would send it to every host there is"),
        ("{nothing}/*", ["*"], "X-Key", "names the option 'nothing', which the twist does not have"),
        ("{token}/*", ["*"], "X-Key", "which is a secret"),
        ("https://api.example.com/*", ["*"], "Host", "the header Host is the connection's own"),
        ("https://api.example.com/*", ["*"], "X Key", "is no name of a header"),
    ],
)
async def test_where_a_secret_may_go_is_checked_at_deploy(
    runtime: Runtime, url: str, declared: list[str], header: str, says: str
) -> None:
    with pytest.raises(RefusedImport, match=says):
        await runtime.deploy(DECLARED.format(url=url, declared=declared, header=header))


async def test_where_a_secret_goes_is_among_what_is_granted(runtime: Runtime) -> None:
    source = DECLARED.format(url="{base_url}/v1/*", declared=["{base_url}/*"], header="X-Key")
    assert "secret: token is sent to {base_url}/v1/*" in (await runtime.deploy(source)).get("permissions", [])


@pytest.mark.parametrize(
    "value",
    [
        "*",
        "https://*",
        "https://*.com",
        "https://user@a.test",
        "https://a.test?x",
        "https://a.test#x",
        "https://a.test/..",
        "a.test",
        "",
    ],
)
async def test_an_option_cannot_widen_a_pattern(runtime: Runtime, value: str) -> None:
    await runtime.deploy(DECLARED.format(url="{base_url}/v1/*", declared=["{base_url}/*"], header="X-Key"))
    with pytest.raises(InvalidValue, match="base_url"):
        await runtime.activate("wants", base_url=value, token=TOKEN)


async def test_an_option_cannot_lead_a_secret_out_of_what_is_declared(runtime: Runtime) -> None:
    source = DECLARED.format(url="{base_url}/v1/*", declared=["https://api.example.com/*", "{base_url}/v2/*"], header="X-Key")
    await runtime.deploy(source)
    await runtime.activate("wants", token=TOKEN)
    with pytest.raises(InvalidValue, match=r"do not fit the secret 'token': 'https://evil.example/v1/\*' is not within"):
        await runtime.activate("wants", base_url="https://evil.example", token=TOKEN)
