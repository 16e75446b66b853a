"""What `deploy` lets by, what it refuses, and what of older versions goes on: with real processes on a real database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.commands import Cli

SYNC = """
    from ropewalk import Priority, Tool, Twist, renamed_from


    class Feed(Tool):
        async def poll(self, page: int) -> None:
            await self.set("polled", page)


    class Sync(Twist):
        feed = Feed()

        async def activate(self, priority: Priority) -> None:
            await self.set("held", await self.callback(self.sync_page, 1))
            await self.run_task(self.sync_page, 2, delay=3600, key="page")
            await self.run_task(self.feed.poll, 3, delay=3600)

        async def sync_page(self, page: int) -> str:
            await self.set("synced", page)
            return f"page {page} in version {self.execution.version}"

        async def run_held(self) -> str:
            return str(await self.run(await self.get("held", str)))
"""


@pytest.fixture(scope="module")
def activated(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with an active instance that holds a callback and two tasks, to be copied."""
    cli = Cli(tmp_path_factory.mktemp("activated"))
    cli.json("deploy", cli.write(SYNC, "sync.py"))
    cli.json("activate", "sync", "--wait")
    return cli


@pytest.fixture
def sync(activated: Cli, tmp_path: Path) -> Cli:
    """Commands on a copy of it."""
    return activated.copied(tmp_path)


def renamed(decorator: str = "") -> str:
    """Return the twist with another name for the method that is called back."""
    source = SYNC.replace("sync_page", "sync_items")
    return (
        source.replace("        async def sync_items", f"        {decorator}\n        async def sync_items")
        if decorator
        else source
    )


def test_a_refusal_says_what_would_break_and_stores_nothing(sync: Cli) -> None:
    sync.write(renamed(), "sync.py")
    (instance,) = [row["id"] for row in sync.json("instances")]
    for flags in ([], ["--dry-run"]):
        done = sync.run("deploy", "sync.py", "--json", *flags)
        assert done.code == 1
        assert done.value["error"]["type"] == "LiveCallbacks"
        assert (
            f"sync_page(): there is no such method: 1 callback and 1 task of instance {instance}"
            in done.value["error"]["message"]
        )
        assert "@renamed_from" in done.value["error"]["message"]
        assert done.value["breaks"] == [
            {
                "method": "sync_page()",
                "why": "there is no such method",
                "live": {"callback": 1, "task": 1},
                "instances": [instance],
            }
        ]
    assert [row["version"] for row in sync.json("twists")] == [1]


def test_webhooks_and_what_recurs_are_live_too(sync: Cli) -> None:
    more = """
        network = Network(urls=[])

        async def listen(self) -> str:
            await self.schedule_recurring("tick", self.tick, "arg", every=3600)
            return await self.network.create_webhook(self.on_hook, "bound")

        async def tick(self, word: str) -> None: ...

        async def on_hook(self, request: WebhookRequest, word: str) -> None: ...
    """
    source = SYNC.replace("renamed_from\n", "renamed_from, WebhookRequest\n    from ropewalk.tools import Network\n")
    sync.json("deploy", sync.write(source + more, "sync.py"), "--wait")
    sync.json("invoke", "sync", "listen")
    sync.write(
        source + more.replace("self.on_hook", "self.gone").replace("on_hook", "gone").replace("word: str", "", 1), "sync.py"
    )
    message = sync.refused("deploy", "sync.py").message
    assert "on_hook(): there is no such method: 1 webhook of instance" in message
    assert "tick(): its arguments do not fit: too many positional arguments: 1 recurring task" in message
    sync.write(source + more.replace("request: WebhookRequest, word: str", "request: WebhookRequest"), "sync.py")
    assert (
        "on_hook(): its arguments do not fit: too many positional arguments: 1 webhook"
        in sync.refused("deploy", "sync.py").message
    )


def test_a_tool_that_goes_is_refused_too(sync: Cli) -> None:
    gone = SYNC.replace("        feed = Feed()\n", "").replace("await self.run_task(self.feed.poll, 3, delay=3600)", "pass")
    sync.write(gone, "sync.py")
    assert "feed.poll(): there is no tool 'feed': 1 task" in sync.refused("deploy", "sync.py").message


def test_a_signature_that_arguments_do_not_fit_is_refused(sync: Cli) -> None:
    sync.write(SYNC.replace("self, page: int) -> str", "self, page: int, size: int) -> str"), "sync.py")
    assert "missing a required argument: 'size': 1 task of" in sync.refused("deploy", "sync.py").message


def test_force_says_what_it_breaks_and_that_fails_unretried(sync: Cli) -> None:
    sync.write(renamed(), "sync.py")
    forced = sync.json("deploy", "sync.py", "--force", "--wait")
    assert [breakage["method"] for breakage in forced["breaks"]] == ["sync_page()"]
    assert sync.refused("invoke", "sync", "run_held").type == "CallbackNotFound"
    # What is broken now stops no later version.
    sync.write(renamed() + "    # changed\n", "sync.py")
    assert "breaks" not in sync.json("deploy", "sync.py", "--wait")


def test_a_renamed_method_is_found_by_what_is_live(sync: Cli) -> None:
    sync.write(renamed('@renamed_from("sync_page")'), "sync.py")
    assert sync.json("deploy", "sync.py", "--wait")["version"] == 2
    assert sync.json("invoke", "sync", "run_held")["result"] == "page 1 in version 2"
    assert {row["method"] for row in sync.json("tasks")} == {"sync_page", "feed.poll"}
