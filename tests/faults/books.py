"""Several ledgers at work on one database, and the audit of their books."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.harness.checks import assert_idle, assert_whole, one, rows
from tests.harness.commands import Cli
from tests.harness.waiting import until
from tests.harness.web import Web

LEDGER = Path(__file__).parent / "twists" / "ledger.py"
ITEMS_PER_PAGE = 5


def open_books(cli: Cli, web: Web, count: int) -> list[str]:
    """Deploy the ledger and activate it so many times; returns the instances."""
    cli.json("deploy", str(LEDGER))
    options = ("--option", f"base_url={web.url}")
    return [cli.json("activate", "ledger", *options, "--option", f"name=n{number}")["instance"] for number in range(count)]


def pages(cli: Cli) -> int:
    """How many pages are entered, of all ledgers."""
    count: int = one(cli.database, "select count(*) from store where key like 'page:%'")
    return count


def progress(cli: Cli, more: int, timeout: float = 60) -> None:
    """Wait until so many more pages are entered."""
    enough = pages(cli) + more
    until(lambda: pages(cli) >= enough, f"{more} more pages to be entered:\n{cli.log_tail()}", timeout)


def close_books(cli: Cli, web: Web, instances: list[str]) -> None:
    """See the sync through to its end, with whatever node there is or one of this function's own, and audit."""
    web.finish()
    cli.json("drain", "--until-idle", "--timeout", "60", timeout=90)
    audit(cli, web, instances)


def audit(cli: Cli, web: Web, instances: list[str]) -> None:
    """Fail unless every page of every ledger was entered exactly once, whole, and nothing is left undone."""
    assert_whole(cli.database)
    assert_idle(cli.database)
    for number, instance in enumerate(instances):
        _audit_ledger(cli, number, instance)
    _audit_requests(web)
    healthy = cli.run("doctor", "--no-repair", "--json")
    assert healthy.code == 0, healthy.out


def _audit_ledger(cli: Cli, number: int, instance: str) -> None:
    last = int(_stored(cli, instance, "last"))
    expected = [f"n{number}.{page}.{item}" for page in range(1, last + 1) for item in range(ITEMS_PER_PAGE)]
    titles = rows(cli.database, "select title from activities where instance = ? and type = 'action'", instance)
    assert Counter(titles) == Counter(expected), "activities are missing, or there twice"
    noted = "select notes.content from notes join activities on activities.id = notes.activity where activities.instance = ?"
    assert Counter(rows(cli.database, noted, instance)) == Counter(expected), "notes are missing, or there twice"
    entered = rows(cli.database, "select key, cast(value as text) from store where instance = ? and key like 'page:%'", instance)
    assert entered == [(f"page:{page:06}", "1") for page in range(1, last + 1)], "a page was not entered once"
    assert int(_stored(cli, instance, "total")) == len(expected)
    executed = "select status, count(*) from executions where instance = ? and method = 'sync_page' group by status"
    assert rows(cli.database, executed, instance) == [("succeeded", last)]


def _audit_requests(web: Web) -> None:
    """A page may have been asked for by several attempts, always with the same key."""
    asked = {
        (request.query["of"], request.query["page"], request.headers["idempotency-key"]) for request in web.asked("/endless")
    }
    assert len({key for _, _, key in asked}) == len({(of, page) for of, page, _ in asked}) == len(asked)


def _stored(cli: Cli, instance: str, key: str) -> str:
    value: str = one(cli.database, "select cast(value as text) from store where instance = ? and key = ?", instance, key)
    return value
