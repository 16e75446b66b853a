"""Versions that ask for more, the grants that they wait for, and going back: with real processes on a real database."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw  # what the storage itself uses: a second SQLite would not know of its locks
import pytest

from tests.harness.commands import Cli
from tests.harness.web import Web

FETCH = """
    from ropewalk import Twist
    from ropewalk.tools import Network


    class Fetch(Twist):
        network = Network(urls=[{urls}])

        async def upgrade(self) -> None:
            await self.set("upgraded", [self.execution.previous_version, self.execution.version])

        async def version(self) -> int:
            return self.execution.version

        async def fetch(self, url: str) -> int:
            return (await self.network.fetch(url)).status
"""


def deploy(cli: Cli, *urls: str, flags: tuple[str, ...] = ()) -> dict[str, object]:
    """Deploy a version that asks for these patterns."""
    path = cli.write(FETCH.format(urls=", ".join(map(repr, urls))), "fetch.py")
    result: dict[str, object] = cli.json("deploy", path, *flags)
    return result


@pytest.fixture
def cli(tmp_path: Path, web: Web) -> Cli:
    """Commands on a database with an instance that may reach nothing but `web`'s `/a/`."""
    cli = Cli(tmp_path, ROPEWALK_ALLOW_PRIVATE=f"{web.url}/*")
    deploy(cli, f"{web.url}/a/*")
    cli.json("activate", "fetch", "--wait")
    return cli


def test_what_is_added_is_granted_by_whoever_deploys(cli: Cli, web: Web) -> None:
    assert cli.refused("invoke", "fetch", "fetch", "--args", f'["{web.url}/b/1"]').type == "NetworkDenied"
    deployed = deploy(cli, f"{web.url}/*", flags=("--wait",))
    assert deployed["permissions_added"] == [f"network: {web.url}/*"]
    assert deployed["awaiting_grant"] == []
    assert cli.json("invoke", "fetch", "fetch", "--args", f'["{web.url}/b/1"]')["result"] == 404
    narrower = deploy(cli, f"{web.url}/b/*", flags=("--no-new-permissions",))
    assert (narrower["permissions_added"], narrower["awaiting_grant"]) == ([], [])


def test_without_new_permissions_a_version_waits_for_a_grant(cli: Cli, web: Web) -> None:
    (instance,) = [row["id"] for row in cli.json("instances")]
    deployed = deploy(cli, f"{web.url}/*", flags=("--no-new-permissions", "--wait"))
    assert (deployed["upgrading"], deployed["awaiting_grant"]) == ([], [instance])
    (row,) = cli.json("instances")
    asked = [f"network: {web.url}/*"]
    assert (row["version"], row["status"], row["awaiting_grant"]) == (1, "active", {"version": 2, "permissions": asked})
    assert f"version 2 awaits a grant of {asked[0]}" in cli.run("instances").out
    assert cli.json("invoke", "fetch", "version")["result"] == 1
    assert cli.refused("invoke", "fetch", "fetch", "--args", f'["{web.url}/b/1"]').type == "NetworkDenied"
    shown = cli.json("grant", "fetch", "--dry-run")
    assert shown == {"instance": instance, "version": 2, "permissions": asked, "execution": None}
    granted = cli.json("grant", "fetch", "--wait")
    assert granted["permissions"] == asked
    assert cli.json("execution", granted["execution"])["trigger"] == "upgrade"
    assert cli.json("invoke", "fetch", "fetch", "--args", f'["{web.url}/b/1"]')["result"] == 404
    again = cli.json("grant", "fetch")
    assert (again["version"], again["permissions"], again["execution"]) == (None, [], None)


def test_a_grant_looks_at_what_has_become_live(cli: Cli, web: Web) -> None:
    later = "\n        async def later(self) -> None:\n            await self.run_task(self.later, delay=3600)\n"
    cli.json("deploy", cli.write(FETCH.format(urls=repr(f"{web.url}/a/*")) + later, "fetch.py"), "--wait")
    deploy(cli, f"{web.url}/*", flags=("--no-new-permissions",))
    cli.json("invoke", "fetch", "later")
    for flags in ([], ["--dry-run"]):
        refused = cli.refused("grant", "fetch", *flags)
        assert (refused.code, refused.type) == (1, "LiveCallbacks")
        assert refused.message.startswith("version 3 of fetch would break what is live: later(): there is no such method: 1 task")
    assert cli.json("instances")[0]["awaiting_grant"]["version"] == 3
    cli.json("grant", "fetch", "--force", "--wait")
    assert cli.json("instances")[0]["version"] == 3


def test_a_version_that_asks_for_less_does_not_wait(cli: Cli, web: Web) -> None:
    deploy(cli, f"{web.url}/*", flags=("--no-new-permissions",))
    deployed = deploy(cli, f"{web.url}/a/b/*", flags=("--no-new-permissions", "--wait"))
    assert [(row["outcome"], row["version"]) for row in deployed["instances"]] == [("upgraded", 3)]  # type: ignore[attr-defined]
    assert cli.json("instances")[0]["awaiting_grant"] is None
    assert cli.json("store", "get", "fetch", "upgraded") == [1, 3]


# ── Rollback ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rolling_back_deploys_the_older_code_as_a_new_version(cli: Cli, web: Web) -> None:
    deploy(cli, f"{web.url}/a/*", "https://example.com/*", flags=("--wait",))
    back = cli.json("rollback", "fetch", "--wait")
    assert (back["version"], back["rolled_back_to"], back["permissions"]) == (3, 1, [f"network: {web.url}/a/*"])
    assert [row["outcome"] for row in back["instances"]] == ["upgraded"]
    assert cli.json("invoke", "fetch", "version")["result"] == 3
    assert cli.json("store", "get", "fetch", "upgraded") == [2, 3]
    forth = cli.json("rollback", "fetch", "--to", "2")
    assert (forth["version"], forth["permissions_added"]) == (4, ["network: https://example.com/*"])


def test_rolling_back_goes_through_the_gate(cli: Cli, web: Web) -> None:
    source = FETCH.format(urls=repr(f"{web.url}/a/*"))
    later = "\n        async def later(self) -> None:\n            await self.run_task(self.later, delay=3600)\n"
    cli.json("deploy", cli.write(source + later, "fetch.py"), "--wait")
    cli.json("invoke", "fetch", "later")
    for flags in ([], ["--dry-run"]):
        refused = cli.refused("rollback", "fetch", *flags)
        assert (refused.code, refused.type) == (1, "LiveCallbacks")
        assert "later(): there is no such method: 1 task of instance" in refused.message
    assert cli.json("rollback", "fetch", "--force")["breaks"][0]["live"] == {"task": 1}


def test_going_back_to_what_is_not_there(cli: Cli) -> None:
    assert cli.refused("rollback", "fetch").type == "NotFound"
    assert "no version 7 to go back to: its latest is 1" in cli.refused("rollback", "fetch", "--to", "7").message
    assert cli.refused("rollback", "nope").type == "NotFound"
    assert cli.json("rollback", "fetch", "--to", "1")["unchanged"]


def test_the_versions_that_there_are_to_go_back_to(cli: Cli, web: Web) -> None:
    (instance,) = [row["id"] for row in cli.json("instances")]
    deploy(cli, f"{web.url}/a/*", "https://example.com/*", flags=("--no-new-permissions",))
    second, first = cli.json("versions", "fetch")
    assert (second["version"], second["latest"], second["instances"], second["awaiting_grant"]) == (2, True, 0, 1)
    assert (first["version"], first["latest"], first["instances"], first["upgrading"]) == (1, False, 1, 0)
    assert second["permissions_added"] == ["network: https://example.com/*"]
    assert second["deployed_at"] > first["deployed_at"]
    cli.json("suspend", instance)
    cli.json("rollback", "fetch")
    third, second, first = cli.json("versions", "fetch")
    assert [row["can_roll_back"] for row in (third, second, first)] == [False, True, False]
    assert (third["code_of"], third["upgrading"], first["instances"], second["awaiting_grant"]) == (1, 1, 1, 0)
    assert "the latest, the code of version 1" in cli.run("versions", "fetch").out
    assert cli.json("versions", "fetch", "--limit", "1") == [third]
    assert cli.refused("versions", "fetcher").message.startswith("there is no twist 'fetcher' (did you mean 'fetch'?)")


def test_files_that_got_lost_are_there_again_once_the_same_is_deployed(cli: Cli, web: Web) -> None:
    with closing(apsw.Connection(str(cli.database))) as connection:
        connection.execute("DELETE FROM bundle_files")
    (found,) = cli.run("doctor", "--json").value["database"]["findings"]
    assert (found["name"], found["remedy"]) == ("version_without_files", "deploy the same files again")
    assert deploy(cli, f"{web.url}/a/*")["unchanged"] is True
    assert cli.json("doctor")["database"]["findings"] == []
    assert cli.json("invoke", "fetch", "version")["result"] == 1


# ── Several instances ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_deploy_and_wait_says_how_it_is_with_each_instance(cli: Cli, web: Web) -> None:
    suspended = cli.json("activate", "fetch", "--wait")["instance"]
    cli.json("suspend", suspended)
    failing = FETCH.replace(
        'await self.set("upgraded"', 'raise __import__("ropewalk").GiveUp("not yet")\n            self.set("upgraded"'
    )
    done = cli.run("deploy", cli.write(failing.format(urls=repr(f"{web.url}/a/*")), "fetch.py"), "--wait", "--json")
    assert (done.code, done.value["error"]) == (1, {"type": "GiveUp", "message": "not yet"})
    outcomes = {row["instance"]: (row["outcome"], row["version"], row["upgrade_error"]) for row in done.value["instances"]}
    assert outcomes.pop(suspended) == ("upgrading", 1, None)
    assert list(outcomes.values()) == [("failed", 1, "GiveUp: not yet")]
