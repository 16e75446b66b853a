"""What webhooks received, as operators see it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.harness.commands import Cli, Refused
from tests.webhooks.conftest import Site

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Operator:
    """The command line beside a node that runs in the test's own process."""

    def __init__(self, folder: Path, site: Site) -> None:
        self._cli = Cli(folder, site.runtime.database)

    async def json(self, *arguments: str) -> Any:
        return await asyncio.to_thread(self._cli.json, *arguments)

    async def refused(self, *arguments: str) -> Refused:
        return await asyncio.to_thread(self._cli.refused, *arguments)

    async def told(self, *arguments: str) -> str:
        return (await asyncio.to_thread(self._cli.run, *arguments)).out


@pytest.fixture
def operator(tmp_path: Path, site: Site) -> Operator:
    return Operator(tmp_path, site)


async def test_what_came_is_listed_with_what_became_of_it(site: Site, operator: Operator) -> None:
    headers = {"X-GitHub-Delivery": "d1", "Authorization": "Bearer hidden", "Content-Type": "application/json"}
    await site.deliver(f"{site.url}/sub?a=b", json={"n": 1}, headers=headers)
    (row,) = await operator.json("webhooks", site.instance)
    assert (row["method"], row["path"], row["query"], row["body"]) == ("POST", "sub", "a=b", '{"n":1}')
    assert (row["status"], row["delivery"], row["handler"], row["redelivers"]) == ("succeeded", "d1", "on_hook", None)
    assert (row["headers"]["x-github-delivery"], row["headers"]["authorization"]) == ("d1", "***")
    assert (await operator.json("webhook", "show", row["id"][:10])) == row
    assert (await operator.json("webhooks", "show", row["id"])) == row
    assert (await operator.json("webhooks", "list", site.instance)) == [row]
    shown = await operator.told("webhook", "show", row["id"])
    assert "POST /sub?a=b" in shown
    assert '{"n":1}' in shown
    assert row["id"] in await operator.told("webhooks", "--limit", "1")


@pytest.mark.parametrize("group", ["webhook", "webhooks"])
async def test_one_is_delivered_again(site: Site, operator: Operator, group: str) -> None:
    seen = await site.deliver(site.url, content=b"\xff\x00", headers={"Idempotency-Key": "k"})
    (row,) = await operator.json("webhooks", site.instance)
    assert (row["body"], row["body_base64"]) == (None, "/wA=")
    again = await operator.json(group, "redeliver", row["id"])
    assert again["redelivers"] == row["id"]
    assert (await site.runtime.finish(again["execution"])).status == "succeeded"
    assert await site.get(f"seen {again['execution']}") == seen
    assert await site.get("count") == 2
    newest, _ = await operator.json("webhooks", site.instance)
    assert (newest["id"], newest["redelivers"]) == (again["execution"], row["id"])
    assert (await site.runtime.execution(again["execution"])).cause == f"redelivery of {row['id']}"


async def test_webhooks_are_listed_with_their_urls(site: Site, operator: Operator) -> None:
    await site.create(secret="s3cret", signature="github", challenge="meta", respond=True)
    newest, first = await operator.json("webhook", "list", site.instance)
    assert first["url"] == site.url
    assert (newest["signature"], newest["challenge"], newest["respond"], newest["handler"]) == ("github", "meta", True, "on_hook")
    assert site.url in await operator.told("webhook", "list")
    await site.runtime.deactivate(site.instance)
    assert site.instance not in {row["instance"] for row in await operator.json("webhook", "list")}


async def test_large_requests_are_shown_alone(site: Site, operator: Operator) -> None:
    await site.deliver(site.url, content="x" * 100_000)
    (row,) = await operator.json("webhooks", site.instance)
    assert (row["body"], row["headers"], row["size"] > 100_000) == (None, None, True)
    assert (await operator.json("webhook", "show", row["id"]))["body"] == "x" * 100_000


async def test_what_is_no_delivery_is_refused(site: Site, operator: Operator) -> None:
    (activation,) = await site.runtime.executions(site.instance, "activate")
    for command in ("show", "redeliver"):
        refused = await operator.refused("webhook", command, activation.id)
        assert (refused.type, "answers no webhook" in refused.message) == ("NotFound", True)


async def test_terminals_are_safe_from_senders(site: Site, operator: Operator) -> None:
    await site.deliver(f"{site.url}/%1b[2J", content=b"\x1b[31mred", headers={"X-GitHub-Delivery": "\x9b2J".encode("latin-1")})
    (row,) = await operator.json("webhooks", site.instance)
    for told in (await operator.told("webhooks"), await operator.told("webhook", "show", row["id"])):
        assert not {"\x1b", "\x9b"} & set(told)
