"""`ropewalk options`, and options and secrets given to `activate`."""

from __future__ import annotations

import json

import pytest

from tests.cli.calling import Ropewalk

SOURCE = """
from ropewalk import Options, Secret, Twist, secret
from ropewalk.tools import Network


class KeeperOptions(Options):
    token: Secret = secret(urls=["https://api.example.com/*"], header="Authorization", format="Bearer {}")
    pin: Secret | None = secret(default=None)
    words: list[str] = []
    per_page: int = 50


class Keeper(Twist):
    options: KeeperOptions
    network = Network(urls=["https://api.example.com/*"])

    async def options_changed(self, before: KeeperOptions) -> None:
        await self.set("told", [before.per_page, self.options.per_page, before.pin != self.options.pin])
"""
HUSH = "hush-hush-4711"


@pytest.fixture
def keeper(ropewalk: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> Ropewalk:
    """A folder with a deployed twist that has secrets, one of them in a variable and a file."""
    (ropewalk.folder / "keeper.py").write_text(SOURCE)
    (ropewalk.folder / "token.txt").write_text(f"{HUSH}\n")
    monkeypatch.setenv("KEEPER_TOKEN", HUSH)
    deployed = ropewalk.json("deploy", "keeper.py")
    assert "secret: token is sent to https://api.example.com/*" in deployed["permissions"]
    assert "secret: pin is read by the twist" in deployed["permissions"]
    return ropewalk


def test_everything_that_is_wrong_is_said_at_once(keeper: Ropewalk) -> None:
    done = keeper("activate", "keeper", "--option", "per_page=many", "--option", f"pin={HUSH}")
    assert done.code == 1
    assert "option 'per_page' (int): 'many' is not a whole number" in done.err
    assert "option 'pin' is a secret" in done.err
    assert "options are missing: token (Secret)" in done.err
    assert HUSH not in done.err + done.out


def test_options_are_shown_and_changed_and_secrets_never_shown(keeper: Ropewalk) -> None:
    keeper.json("activate", "keeper", "--option", "token=@env:KEEPER_TOKEN", "--wait")
    assert keeper.json("options", "keeper")["options"] == {"token": "***", "pin": None, "words": [], "per_page": 50}
    changes = ("--option", "pin=@token.txt", "--option", "per_page=7", "--option", 'words=["a"]')
    changed = keeper.json("options", "keeper", *changes, "--wait")
    assert changed["options"] == {"token": "***", "pin": "***", "words": ["a"], "per_page": 7}
    assert keeper.json("store", "get", "keeper", "told") == [50, 7, True]
    told = keeper.json("execution", changed["execution"])
    assert (told["trigger"], told["method"], told["status"]) == ("options", "options_changed", "succeeded")
    assert keeper.json("options", "keeper", "--reset", "per_page", "--reset", "pin")["options"]["per_page"] == 50
    shown = keeper("options", "keeper")
    assert "token = ***" in shown.out
    everything = [
        keeper(*command).out for command in (("instances", "--json"), ("executions", "--json"), ("logs",), ("config", "--json"))
    ]
    assert HUSH not in json.dumps(everything)
    files = [path for path in keeper.folder.rglob("*") if path.is_file() and path.name != "token.txt"]
    assert not [path for path in files if HUSH.encode() in path.read_bytes()]


def test_what_cannot_be_changed_is_refused(keeper: Ropewalk) -> None:
    keeper.json("activate", "keeper", "--option", "token=@token.txt", "--wait")
    assert "is a secret" in keeper("options", "keeper", "--option", "token=plain-text").err
    assert "options are missing: token" in keeper("options", "keeper", "--reset", "token").err
    assert keeper("options", "keeper", "--reset", "nothing").code == 1
    assert keeper("options", "keeper", "--reset", "pin", "--option", "pin=@token.txt").code == 2


def test_a_lost_key_is_said_and_nothing_runs_until_it_is_back(keeper: Ropewalk) -> None:
    keeper.json("activate", "keeper", "--option", "token=@token.txt")
    file = keeper.folder / "ropewalk.db-key"
    away = file.rename(keeper.folder / "away")
    done = keeper("drain", "--until-idle")
    assert done.code == 1
    assert "ropewalk.db-key is gone: restore that file from its backup" in done.err
    away.rename(file)
    assert keeper("drain", "--until-idle").code == 0
    assert keeper.json("instances")[0]["status"] == "active"
