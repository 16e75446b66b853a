"""What people mistype: the command says what is wrong and what to do, exits 1 or 2, and changes nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.badinput.aftermath import BENIGN
from tests.harness.checks import one
from tests.harness.commands import Cli

KEPT = """
    select (select count(*) from executions where method != 'benign') || ' ' || (select count(*) from store)
        || ' ' || (select count(*) from versions) || ' ' || (select count(*) from priorities) || ' ' || (select status from instances)
"""
"""What no refused command may change."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with one instance of a good twist, which none of the tests below may change."""
    cli = Cli(tmp_path_factory.mktemp("commands"))
    cli.json("deploy", cli.write(BENIGN))
    cli.json("activate", "benign", "--wait")
    return cli


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        (["invoke", "nobody", "benign"], 1, "nobody"),
        (["invoke", "bening", "benign"], 1, "benign"),
        (["invoke", "benign", "bening"], 1, "did you mean 'benign'"),
        (["invoke", "benign", "missing"], 1, "missing"),
        (["invoke", "benign", "benign", "--args", "[1,"], 2, "column"),
        (["invoke", "benign", "benign", "--args", "{'a': 1}"], 2, "column"),
        (["invoke", "benign", "benign", "--args", "[NaN]"], 2, "--args"),
        (["invoke", "benign", "benign", "--args", '["\\ud800"]'], 2, "--args"),
        (["invoke", "benign", "benign", "--args", "5"], 2, "array"),
        (["invoke", "benign", "benign", "--args", "[" * 100_000], 2, "deep"),
        (["invoke", "benign", "benign", "--args", "[1]"], 1, "benign"),
        (["invoke", "benign", "benign", "--args", "@missing.json"], 1, "missing.json"),
        (["activate", "nobody"], 1, "nobody"),
        (["activate", "benign", "--option", "x=1"], 1, "x"),
        (["activate", "benign", "--option", "x"], 2, "NAME=VALUE"),
        (["activate", "benign", "--priority", "nowhere"], 1, "nowhere"),
        (["deactivate", "nobody"], 1, "nobody"),
        (["execution", "nothing"], 1, "nothing"),
        (["retry", "nothing"], 1, "nothing"),
        (["cancel", "nothing"], 1, "nothing"),
        (["logs", "nobody"], 1, "nobody"),
        (["store", "get", "nobody", "key"], 1, "nobody"),
        (["store", "get", "benign", "missing"], 1, "missing"),
        (["store", "set", "benign", "key", "{"], 2, "column"),
        (["store", "set", "benign", "key", "NaN"], 2, ""),
        (["store", "set", "benign", "k" * 513, "1"], 1, "512"),
        (["store", "set", "benign", "", "1"], 1, "empty"),
        (["executions", "--status", "odd"], 2, "odd"),
        (["deploy", "nowhere.py"], 1, "nowhere.py"),
        (["deploy", "--name", "a b"], 1, "a b"),
        (["priority", "create", "t", "--parent", "nowhere"], 1, "nowhere"),
        (["no-such-command"], 2, "no-such-command"),
        (["deploy", "--no-such-flag"], 2, "--no-such-flag"),
        (["drain", "--timeout", "soon"], 2, "soon"),
    ],
)
def test_what_is_mistyped_is_named(deployed: Cli, command: list[str], code: int, says: str) -> None:
    before = one(deployed.database, KEPT)
    refused = deployed.refused(*command)
    assert refused.code == code, refused
    assert says in refused.message
    assert one(deployed.database, KEPT) == before


@pytest.mark.parametrize("command", ["instances", "executions", "drain", "doctor", "twists", "logs"])
def test_without_a_database_commands_say_so(cli: Cli, command: str) -> None:
    refused = cli.refused(command)
    assert refused.code == 1
    assert "no database at" in refused.message
    assert str(cli.database) in refused.message
    assert not cli.database.exists()


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"SQLite format 3\0" + b"x" * 5000, "ropewalk.db"), (b"hello" * 100, "ropewalk.db")]
)
def test_a_file_that_is_no_database_is_left_alone(cli: Cli, content: bytes, says: str) -> None:
    cli.database.write_bytes(content)
    refused = cli.refused("instances")
    assert refused.code == 1
    assert says in refused.message
    assert cli.database.read_bytes() == content


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ROPEWALK_LIMIT_CPUU", "1", "ROPEWALK_LIMIT_CPU"),
        ("ROPEWALK_LIMIT_CPU", "-1", "limit_cpu"),
        ("ROPEWALK_LIMIT_MEMORY", "lots", "limit_memory"),
        ("ROPEWALK_DATABASE", "postgres://x/y", "postgres://x/y"),
        ("ROPEWALK_PORT", "99999", "port"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(tmp_path: Path, variable: str, value: str, says: str) -> None:
    refused = Cli(tmp_path, None, **{variable: value}).refused("twists")
    assert refused.code in {1, 2}
    assert says in refused.message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1", "Twist"),
        ("x = (", "twist.py"),
        ("import not_there", "not_there"),
        ("import os; os._exit(3)", "3"),
        ("raise ValueError('at \\x1b[31m import')", "at"),
    ],
)
def test_a_module_that_is_refused_is_shown_to_people_without_tricks(cli: Cli, source: str, says: str) -> None:
    done = cli.run("deploy", cli.write(source))
    assert done.code == 1
    assert says in done.err
    assert "\x1b[31m" not in done.err
    assert not re.search(r"ropewalk/(cli|service|sandbox)/", done.err), "the host's own traceback was shown"


def test_a_failed_invoke_prints_the_authors_error_and_exits_1(cli: Cli) -> None:
    failing = f"{BENIGN}\n    async def fail(self) -> None:\n        raise ValueError('the reason')\n"
    cli.json("deploy", cli.write(failing))
    cli.json("activate", "benign", "--wait")
    refused = cli.refused("invoke", "benign", "fail")
    assert (refused.code, refused.type, refused.message) == (1, "ValueError", "the reason")
    assert cli.json("invoke", "benign", "benign")["result"] == "fine"
    assert cli.run("doctor").code == 0
