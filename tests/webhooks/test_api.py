"""The inbox over HTTP, as an operator's program uses it: a real node, a real client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.commands import Cli
from tests.harness.waiting import until

TOKEN = "a-token-that-nobody-guesses"

TWIST = """
    from ropewalk import Priority, Twist, WebhookRequest
    from ropewalk.tools import Network

    class Hooked(Twist):
        network = Network(urls=[])

        async def activate(self, priority: Priority) -> None:
            await self.network.create_webhook(self.on_hook)

        async def on_hook(self, request: WebhookRequest) -> None:
            await self.set("seen", [*(await self.get("seen", list[str], default=[])), request.raw_body.decode()])
"""


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cli, httpx.Client]]:
    """The command line, and a client of the API with the token, beside a node whose webhook has received `one` and `two`."""
    cli = Cli(tmp_path_factory.mktemp("inbox"), ROPEWALK_API_TOKEN=TOKEN)
    cli.json("deploy", cli.write(TWIST))
    with cli.serving() as node:
        cli.json("activate", "hooked", "--wait")
        (hook,) = cli.json("webhook", "list")
        for body in ("one", "two"):
            assert httpx.post(hook["url"], content=body).status_code == 202
        with httpx.Client(base_url=f"{node.url}/api/v1", headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            yield cli, client


def test_what_was_received_is_listed_shown_and_delivered_again(inbox: tuple[Cli, httpx.Client]) -> None:
    cli, client = inbox
    until(lambda: [row["status"] for row in client.get("/webhooks").json()] == ["succeeded"] * 2, "both to be answered")
    rows = client.get("/webhooks", params={"instance": "hooked"}).json()
    assert rows == cli.json("webhooks")
    assert [row["body"] for row in rows] == ["two", "one"]
    assert client.get("/webhooks", params={"limit": 1}).json() == rows[:1]
    assert client.get(f"/webhooks/{rows[1]['id']}").json() == rows[1]
    answer = client.post(f"/webhooks/{rows[1]['id']}/redeliver")
    assert (answer.status_code, answer.json()["redelivers"]) == (202, rows[1]["id"])
    until(lambda: client.get(f"/webhooks/{answer.json()['execution']}").json()["status"] == "succeeded", "the third")
    assert cli.json("store", "get", "hooked", "seen") == ["one", "two", "one"]


def test_nobody_else_is_answered(inbox: tuple[Cli, httpx.Client]) -> None:
    _, client = inbox
    before = client.get("/webhooks").json()
    path = f"/webhooks/{before[0]['id']}"
    for given in ("", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        for method, where in (("GET", "/webhooks"), ("GET", path), ("POST", f"{path}/redeliver")):
            answer = client.request(method, where, headers={"Authorization": given})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
            assert answer.json()["error"]["type"] == "Unauthorized"
    assert len(client.get("/webhooks").json()) == len(before)


def test_what_cannot_be_is_refused(inbox: tuple[Cli, httpx.Client]) -> None:
    cli, client = inbox
    (activation,) = [row for row in cli.json("executions") if row["method"] == "activate"]
    for path, status, kind in (
        ("/webhooks/nothing", 404, "NotFound"),
        (f"/webhooks/{activation['id']}", 404, "NotFound"),
        ("/webhooks?instance=nobody", 404, "NotFound"),
        ("/webhooks?limit=0", 400, "InvalidValue"),
        ("/webhooks?limit=201", 400, "InvalidValue"),
        ("/webhooks?limit=%C2%B2", 400, "InvalidValue"),
    ):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind), path
    assert client.post("/webhooks/nothing/redeliver").status_code == 404
    assert client.delete("/webhooks/nothing").status_code == 405


def test_without_a_token_there_is_no_api(tmp_path: Path) -> None:
    with Cli(tmp_path).serving("--role", "web") as node:
        for given in ("", "Bearer", f"Bearer {TOKEN}"):
            assert httpx.get(f"{node.url}/api/v1/webhooks", headers={"Authorization": given}).status_code == 404


def test_a_token_is_not_shown_and_not_short(tmp_path: Path) -> None:
    shown = Cli(tmp_path, ROPEWALK_API_TOKEN=TOKEN).run("config", "--json").out
    assert json.loads(shown)["api_token"]["value"] == "***"
    assert TOKEN not in shown
    refused = Cli(tmp_path, ROPEWALK_API_TOKEN="short").refused("config")
    assert "api_token" in refused.message
