"""Real clients, from the real index, unchanged: httpx, requests, aiohttp, urllib, and the SDKs of stripe and openai."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ropewalk.sandbox.source import ForkSource
from ropewalk.service.bundles import BundleError
from tests.door.origin import PIECE, Origin, serving
from tests.egress.origin import CERTIFICATES
from tests.harness.runtime import Runtime, open_runtime

pytestmark = pytest.mark.asyncio(loop_scope="session")

TWIST = """
    # /// script
    # dependencies = ["aiohttp", "httpx", "openai", "stripe"]
    # ///
    import asyncio, hashlib, urllib.request

    import aiohttp, httpx, requests, stripe
    from ropewalk import Options, Twist
    from ropewalk.tools import Network

    BODY = b"a body" * 100_000

    async def pieces():
        for _ in range(6):
            yield BODY[:100_000]

    class Where(Options):
        plain: str
        secure: str

    class Clients(Twist):
        options: Where
        network = Network(urls=["{plain}/*", "{secure}/*"])

        async def httpx_sync(self, url):
            with httpx.Client(follow_redirects=True) as client:
                form = client.post(url + "/echo", data={"a": "1"}, files={"file": ("name", BODY)}).json()
                with client.stream("GET", url + "/stream?pieces=40") as answer:
                    size = sum(map(len, answer.iter_bytes()))
                chunks = client.put(url + "/echo", content=iter([BODY, BODY])).json()
                redirected = client.get(url + "/redirect?to=/echo").status_code
            return form["size"] > len(BODY), size, chunks["size"], redirected

        async def httpx_async(self, url):
            async with httpx.AsyncClient(follow_redirects=True) as client:
                form = (await client.post(url + "/echo", data={"a": "1"}, files={"file": ("name", BODY)})).json()
                async with client.stream("GET", url + "/stream?pieces=40") as answer:
                    size = sum([len(piece) async for piece in answer.aiter_bytes()])
                chunks = (await client.put(url + "/echo", content=pieces())).json()
                many = await asyncio.gather(*(client.get(f"{url}/echo?{number}") for number in range(10)))
                redirected = (await client.get(url + "/redirect?to=/echo")).status_code
            assert {one.status_code for one in many} == {200}
            return form["size"] > len(BODY), size, chunks["size"] * 2, redirected

        async def requests(self, url):
            with requests.Session() as session:
                form = session.post(url + "/echo", data={"a": "1"}, files={"file": ("name", BODY)}).json()
                size = sum(map(len, session.get(url + "/stream?pieces=40", stream=True).iter_content(100_000)))
                chunks = session.put(url + "/echo", data=iter([BODY, BODY])).json()
                redirected = session.get(url + "/redirect?to=/echo").status_code
            return form["size"] > len(BODY), size, chunks["size"], redirected

        async def aiohttp(self, url):
            async with aiohttp.ClientSession() as session:
                form = aiohttp.FormData()
                form.add_field("file", BODY, filename="name")
                async with session.post(url + "/echo", data=form) as answer:
                    form = await answer.json()
                async with session.get(url + "/stream?pieces=40") as answer:
                    size = sum([len(piece) async for piece in answer.content.iter_any()])
                async with session.put(url + "/echo", data=pieces()) as answer:
                    chunks = await answer.json()
                async with session.get(url + "/redirect?to=/echo") as answer:
                    redirected = answer.status
            return form["size"] > len(BODY), size, chunks["size"] * 2, redirected

        async def urllib(self, url):
            def ask(path, **options):
                with urllib.request.urlopen(urllib.request.Request(url + path, **options)) as answer:
                    return answer.read(), answer.status
            sent, _ = ask("/echo", data=BODY * 2, method="PUT")
            piecewise, _ = ask("/echo", data=iter([BODY, BODY]), method="PUT")
            size, (_, redirected) = len(ask("/stream?pieces=40")[0]), ask("/redirect?to=/echo")
            assert f'"size":{2 * len(BODY)}'.encode() in sent
            return True, size, 2 * len(BODY) if b'"size":1200000' in piecewise else 0, redirected

        async def stripe(self, url):
            stripe.api_key, stripe.api_base = "sk_test", url
            return stripe.Customer.create(description="who").description

        async def stripe_async(self, url):
            client = stripe.StripeClient("sk_test", base_addresses={"api": url}, http_client=stripe.HTTPXClient())
            return (await client.v1.customers.create_async({"description": "who"})).description

        async def openai(self, url):
            import openai
            client = openai.OpenAI(api_key="key", base_url=url + "/v1")
            asked = dict(model="m", messages=[{"role": "user", "content": "one two three"}], stream=True)
            said = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**asked)]
            later = openai.AsyncOpenAI(api_key="key", base_url=url + "/v1")
            return said + [chunk.choices[0].delta.content async for chunk in await later.chat.completions.create(**asked)]

        async def aiohttp_pins(self, url):
            async with aiohttp.ClientSession() as session:
                async with session.get(url + "/echo", ssl=aiohttp.Fingerprint(bytes(32))):
                    return "trusted"

        async def tries_directly(self, url):
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(url)
    """


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def origins() -> AsyncIterator[dict[str, Origin]]:
    """A server without TLS and one with it."""
    async with serving(tls=False) as plain, serving(tls=True) as secure:
        yield {"http": plain, "https": secure}


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def walk(
    tmp_path_factory: pytest.TempPathFactory, sandbox: ForkSource, shared_bundles: Path, origins: dict[str, Origin]
) -> AsyncIterator[Runtime]:
    """A runtime for all tests here: what they depend on takes a while to be installed."""
    urls = tuple(f"{origin.url}/*" for origin in origins.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(CERTIFICATES / "authority.pem"))
        async with open_runtime(tmp_path_factory.mktemp("clients"), sandbox, shared_bundles, allow_private=urls) as one:
            yield one


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def instance(walk: Runtime, origins: dict[str, Origin]) -> str:
    """An instance of the twist. Skips, loudly, where packages cannot be had."""
    try:
        return await walk.run(TWIST, plain=origins["http"].url, secure=origins["https"].url)
    except BundleError as error:
        if "cannot be reached" not in str(error):
            raise
        pytest.skip(f"REAL CLIENTS WERE NOT TESTED, since there is no package index: {error}")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("client", ["httpx_sync", "httpx_async", "requests", "aiohttp", "urllib"])
async def test_forms_streams_chunks_and_redirects(
    walk: Runtime, instance: str, origins: dict[str, Origin], client: str, scheme: str
) -> None:
    found = await walk.invoke(instance, client, origins[scheme].url)
    assert found == [True, 40 * len(PIECE), 1_200_000, 200]


@pytest.mark.parametrize("sdk", ["stripe", "stripe_async"])
async def test_stripe(walk: Runtime, instance: str, origins: dict[str, Origin], sdk: str) -> None:
    """It brings its own list of authorities."""
    assert await walk.invoke(instance, sdk, origins["https"].url) == "description=who"


async def test_openai_streams(walk: Runtime, instance: str, origins: dict[str, Origin]) -> None:
    assert await walk.invoke(instance, "openai", origins["https"].url) == ["one", "two", "three"] * 2


async def test_a_client_that_pins_is_told_why(walk: Runtime, instance: str, origins: dict[str, Origin]) -> None:
    error = await walk.failure(instance, "aiohttp_pins", origins["https"].url)
    assert error.type == "ServerFingerprintMismatch"
    assert "a fingerprint, a pin" in "\n".join(await walk.logs(instance))


async def test_a_client_told_to_take_no_proxy_is_told_why(walk: Runtime, instance: str) -> None:
    error = await walk.failure(instance, "tries_directly", "https://example.com/")
    assert error.type == "ConnectError"
    assert "has no address inside a twist: HTTP clients reach it by the proxy" in error.message
