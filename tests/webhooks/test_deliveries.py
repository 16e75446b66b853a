"""What a webhook's method is called with, what its sender is answered, and when it takes no more."""

from __future__ import annotations

import asyncio
import hmac
import re
from contextlib import closing
from typing import Any

import pytest

from ropewalk.service.gate import BreaksLive
from ropewalk.sources import tokens
from ropewalk.storage.sqlite.driver import connect
from tests.harness.runtime import Failed
from tests.webhooks.conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_method_sees_the_request(site: Site) -> None:
    headers = [("X-One", "1"), ("x-two", "2"), ("X-Two", "3")]
    seen = await site.deliver(f"{site.url}/a%20b/c?x=1&y=&x=2", content=b"raw \x00\xff", headers=headers)
    assert (seen["trigger"], seen["what"], seen["method"], seen["path"]) == ("webhook", "bound", "POST", "a b/c")
    assert seen["params"] == {"x": "2", "y": ""}
    assert seen["raw"] == b"raw \x00\xff".hex()
    assert (seen["headers"]["x-one"], seen["headers"]["x-two"]) == ("1", "2, 3")


PARTS = (
    b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n2\n\r\n'
    b'--x\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\nContent-Type: text/plain\r\n\r\nfile\r\n'
    b'--x\r\nContent-Disposition: form-data; name="\xc3\xa9"\r\n\r\n\xc3\xbc\r\n--x--\r\n'
)


@pytest.mark.parametrize(
    ("kind", "content", "body"),
    [
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}),
        ("application/cloudevents+json; charset=utf-8", b'"x"', "x"),
        ("application/json", b"{", None),
        ("application/json", b"", None),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A9+x&a=2", {"a": "2", "b": "é x"}),
        ("multipart/form-data; boundary=x", PARTS, {"a": "1\r\n2\n", "é": "ü"}),
        ("multipart/form-data; boundary=x", b"--y", None),
        ("multipart/form-data", b"--x", None),
        ("text/plain; charset=latin-1", b"\xe9", "é"),
        ("text/xml", b"<a/>", "<a/>"),
        ("application/octet-stream", b"\x00", None),
        ("text/plain; charset=no-such", b"\xff", "\ufffd"),
        (None, b'{"a": 1}', {"a": 1}),
        (None, b"words", "words"),
        (None, b"\xff", None),
        (None, b"", None),
    ],
)
async def test_bodies_are_parsed_by_their_type(site: Site, kind: str | None, content: bytes, body: Any) -> None:
    seen = await site.deliver(site.url, content=content, headers={} if kind is None else {"content-type": kind})
    assert seen["body"] == body
    assert seen["raw"] == content.hex()


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "PROPFIND"])
async def test_every_method_is_delivered(site: Site, method: str) -> None:
    response = await site.client.request(method, site.url)
    assert response.status_code == 202
    await site.runtime.drain()
    assert (await site.get("seen"))["method"] == method


async def test_a_large_body_arrives_whole(site: Site) -> None:
    body = bytes(range(256)) * (5 * 4096)
    seen = await site.deliver(site.url, content=body)
    assert seen["size"] == 5 * 1024 * 1024


async def test_a_delivery_that_came_before_is_not_run_again(site: Site) -> None:
    first, second = [await site.post(site.url, headers={"X-GitHub-Delivery": "d1"}) for _ in range(2)]
    assert second.status_code == 202
    assert second.json() == {"queued": False, "execution": first.json()["execution"]}
    seen = await site.deliver(site.url, headers={"X-GitHub-Delivery": "d2"})
    assert seen["id"] == "d2"
    await site.runtime.drain()
    assert await site.get("count") == 2
    other = await site.create()
    assert (await site.post(other, headers={"X-GitHub-Delivery": "d1"})).json()["queued"] is True


async def test_many_at_once_are_each_run_once(site: Site) -> None:
    answers = await asyncio.gather(*(site.post(site.url, headers={"Idempotency-Key": str(n % 30)}) for n in range(60)))
    assert sum(answer.json()["queued"] for answer in answers) == 30
    await site.runtime.drain()
    assert await site.get("count") == 30


async def test_names_callbacks_and_tools_receive(site: Site) -> None:
    assert (await site.deliver(await site.create("on_hook", "by name")))["what"] == "by name"
    callback, url = await site.runtime.invoke(site.instance, "create_of_callback")
    assert (await site.deliver(url))["what"] == "called back"
    await site.runtime.invoke(site.instance, "forget_callback", callback)
    assert (await site.post(url)).status_code == 404
    inner = await site.runtime.invoke(site.instance, "create_in_tool")
    await site.post(inner)
    await site.runtime.drain()
    assert await site.runtime.get(site.instance, "heard inner", ns="inner") == "POST"


async def test_each_call_makes_another_url(site: Site) -> None:
    urls = await site.runtime.invoke(site.instance, "create_twice")
    assert len({*urls, site.url}) == 3
    assert all(re.fullmatch(r"http://127\.0\.0\.1:\d+/webhooks/wh_[\w-]+", url) for url in urls)


async def test_nothing_leads_where_there_is_no_webhook(site: Site) -> None:
    base, _, token = site.url.rpartition("/")
    changed = f"{token[:-2]}{'A' if token[-2] != 'A' else 'B'}{token[-1]}"
    for other in (
        "",
        "x",
        "wh_",
        token[:-1],
        token + "A",
        changed,
        token.upper(),
        "%2e%2e%2fhealthz",
        "%2e%2e",
        "wh_" + "\u00e9" * 50,
    ):
        assert (await site.post(f"{base}/{other}")).status_code == 404, other


async def test_a_deleted_webhook_is_gone_at_once(site: Site) -> None:
    queued = (await site.post(site.url)).json()["execution"]
    token = tokens.find(site.url)
    await site.runtime.invoke(site.instance, "delete", f"https://elsewhere.example/{token}?x=1")
    assert (await site.post(site.url)).status_code == 404
    assert (await site.runtime.finish(queued)).status == "succeeded"
    await site.runtime.invoke(site.instance, "delete", site.url)
    with pytest.raises(Failed, match="is no URL of a webhook"):
        await site.runtime.invoke(site.instance, "delete", "https://elsewhere.example/")


async def test_whatever_is_sent_to_a_deleted_webhook_is_answered_404(site: Site) -> None:
    too_large = b"x" * (site.webhooks.bounds.body + 1)
    signed = {"X-Hub-Signature-256": f"sha256={hmac.new(b's', b'', 'sha256').hexdigest()}"}
    for wrong, status in ((b"not signed", 401), (too_large, 413)):
        url = await site.create("on_hook", signature="github", secret="s")
        assert (await site.post(url, content=wrong)).status_code == status
        assert (await site.post(url, headers=signed)).status_code == 202
        await site.runtime.invoke(site.instance, "delete", url)
        assert (await site.post(url, content=wrong)).status_code == 404


async def test_a_webhook_that_was_made_anew_is_what_it_is_now(site: Site) -> None:
    """Its token is the same: another attempt made it, of a version that signs with another secret, say."""
    await site.deliver(site.url)
    with closing(connect(str(site.runtime.database), statements=1)) as other:
        arguments = b'[["anew"],{}]'
        other.execute(
            "UPDATE webhooks SET arguments = ?, created_at = created_at + 1 WHERE instance = ?", (arguments, site.instance)
        )
    assert (await site.deliver(site.url))["what"] == "anew"


async def test_a_deactivated_instance_takes_nothing(site: Site) -> None:
    await site.runtime.deactivate(site.instance)
    assert (await site.post(site.url)).status_code == 404
    assert any("create_webhook() cannot be used" in line for line in await site.runtime.logs(site.instance))


async def test_a_secret_option_is_what_the_sender_signs_with(site: Site) -> None:
    instance = await site.runtime.activate(site.twist, web=site.web.url, signing="s3cret")
    await site.runtime.drain()
    url = await site.runtime.invoke(instance, "create_signed")
    signature = hmac.new(b"s3cret", b"x", "sha256").hexdigest()
    assert (await site.post(url, content=b"x")).status_code == 401
    assert (await site.post(url, content=b"x", headers={"X-Hub-Signature-256": f"sha256={signature}"})).status_code == 202
    (webhook, _) = await site.runtime.storage.webhooks(instance)
    assert b"s3cret" not in (webhook.secret or b"s3cret")


async def test_nobody_is_believed_when_the_secret_is_gone(site: Site) -> None:
    url = await site.create("on_hook", signature="github", secret="s")
    with closing(connect(str(site.runtime.database), statements=1)) as other:
        other.execute("UPDATE webhooks SET secret = NULL WHERE instance = ?", (site.instance,))
    answer = await site.post(url, content=b"x")
    assert answer.status_code == 401
    assert "made again" in answer.text


async def test_a_suspended_instance_takes_what_it_will_run(site: Site) -> None:
    await site.runtime.service.suspend(site.instance, "for the test")
    answer = await site.post(site.url)
    assert answer.status_code == 202
    await site.runtime.service.resume(site.instance)
    assert (await site.runtime.finish(answer.json()["execution"])).status == "succeeded"


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"signature": "github"}, "go together"),
        ({"secret": "x"}, "go together"),
        ({"signature": "md5", "secret": "x"}, "is none of github"),
        ({"challenge": "x"}, "is none of slack"),
        ({"signature": "standard", "secret": "whsec_!"}, "base64"),
        ({"signature": "github", "secret": ""}, "empty"),
        ({"signature": "github", "secret": "x" * 1025}, "may have 1,024"),
    ],
)
async def test_what_cannot_be_kept_is_refused(site: Site, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(Failed, match=message):
        await site.create("on_hook", "x", **keywords)


async def test_arguments_have_to_fit_the_method(site: Site) -> None:
    with pytest.raises(Failed, match="too many"):
        await site.create("on_hook", "one", "two")
    with pytest.raises(Failed, match="cannot be called back"):
        await site.create("no_such")


async def test_a_version_without_the_method_is_not_deployed(site: Site) -> None:
    source = 'from ropewalk import Twist\n\nclass Receiver(Twist):\n    """Nothing is left."""\n'
    with pytest.raises(BreaksLive, match=r"on_hook.*1 webhook"):
        await site.runtime.deploy(source, name=site.twist)
