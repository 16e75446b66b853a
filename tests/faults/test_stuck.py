"""Stuck states planted beside a node at work: `ropewalk doctor` names each and mends it, and then the node does the work (G6)."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from contextlib import closing
from typing import Any
from urllib.error import HTTPError

import apsw  # what the storage itself uses: a second SQLite would not know of its locks

from ropewalk.service.config import Settings
from ropewalk.service.options import Chosen
from ropewalk.service.service import open_service
from tests.harness.checks import rows
from tests.harness.commands import Cli
from tests.harness.waiting import until

STUCK = """
    from ropewalk import Priority, Twist, WebhookRequest, on
    from ropewalk.tools import Network


    class Stuck(Twist):
        network = Network(urls=[])

        async def activate(self, priority: Priority) -> None:
            await self.run_task(self.work, delay=3600)
            await self.run_task(self.spare, delay=7200)
            await self.set("url", await self.network.create_webhook(self.called))

        async def work(self) -> None:
            await self.set("worked", self.execution.version)

        async def spare(self) -> None: ...

        async def called(self, request: WebhookRequest) -> None: ...

        @on.schedule(every=3600)
        async def tick(self) -> None: ...  # version {number}
"""

LEAVING = 2**63 - 1

LEASE = "UPDATE instances SET node = 'gone', running = :n WHERE id = :i;"

RUNS = "UPDATE executions SET status = 'running', due = NULL, attempt = 1, version = 2, node = 'gone', started_at = :now WHERE n = :n;"

NO_ATTEMPT = "UPDATE executions SET attempt = 0 WHERE n = :n"

STATES: dict[str, tuple[str, str, str | None]] = {
    "work that is due, and no wake": ("no_wake", "", "work"),
    "a wake too late": ("late_wake", "UPDATE instances SET wake_at = :now + 9000000000 WHERE id = :i", "work"),
    "no time and no place": ("waiting_without_place", "UPDATE executions SET due = NULL WHERE n = :n", "work"),
    "a time and a place": ("waiting_without_place", "UPDATE executions SET seq = 99 WHERE n = :n", "work"),
    "places given twice": (
        "places_given_twice",
        "UPDATE executions SET due = NULL, seq = 7 WHERE n = :n; UPDATE instances SET next_seq = 2 WHERE id = :i",
        "work",
    ),
    "running without a lease": ("running_without_lease", RUNS, "work"),
    "a lease under which nothing runs": ("lease_without_execution", LEASE, "work"),
    "a lease of a node that nobody knows": ("lease_of_unknown_node", RUNS + LEASE, "work"),
    "running as no attempt": (
        "running_without_attempt",
        RUNS + LEASE + NO_ATTEMPT,
        "work",
    ),
    "lost arguments": ("execution_without_arguments", "UPDATE executions SET arguments = NULL WHERE n = :n", None),
    "a status that executions do not have": (
        "unknown_execution_status",
        "UPDATE executions SET status = 'paused' WHERE n = :n",
        "work",
    ),
    "a rank that there is not": ("wrong_rank", "UPDATE executions SET rank = 9 WHERE n = :n", "work"),
    "waiting, and to be forgotten": ("waiting_but_over", "UPDATE executions SET finished_at = :now WHERE n = :n", "work"),
    "held by what is over": (
        "held_by_nothing",
        "UPDATE instances SET held = (SELECT n FROM executions WHERE instance = :i AND method = 'activate') WHERE id = :i",
        "work",
    ),
    "a key held twice": ("key_held_twice", "UPDATE executions SET key = 'k' WHERE instance = :i AND due IS NOT NULL", None),
    "half activated": (
        "activating_without_activate",
        """UPDATE instances SET status = 'activating' WHERE id = :i;
        DELETE FROM executions WHERE instance = :i AND method = 'activate'""",
        "activate",
    ),
    "failed, and nothing to retry": (
        "failed_without_activate",
        """UPDATE instances SET status = 'failed' WHERE id = :i;
        DELETE FROM executions WHERE instance = :i AND method = 'activate'""",
        "activate",
    ),
    "an upgrade that got lost": (
        "upgrade_without_execution",
        "UPDATE instances SET version = 1, target_version = 2 WHERE id = :i",
        "upgrade",
    ),
    "an upgrade to nowhere": ("missing_target_version", "UPDATE instances SET target_version = 9 WHERE id = :i", "work"),
    "an upgrade backwards": ("target_not_newer", "UPDATE instances SET target_version = 1 WHERE id = :i", "work"),
    "an upgrade that nobody waits for": (
        "lifecycle_out_of_place",
        "UPDATE executions SET trigger = 'upgrade', rank = 1 WHERE n = :n",
        None,
    ),
    "a version that is gone": ("missing_version", "UPDATE instances SET version = 0 WHERE id = :i", "upgrade"),
    "a grant of nothing": ("awaiting_without_version", "UPDATE instances SET awaiting = 9, offered = 9 WHERE id = :i", "work"),
    "a grant of what it has": ("offered_out_of_order", "UPDATE instances SET awaiting = 1 WHERE id = :i", "work"),
    "deactivated by half": (
        "deactivating_without_deactivate",
        "UPDATE instances SET status = 'deactivating' WHERE id = :i",
        "deactivate",
    ),
    "a deactivation without its fence": (
        "deactivate_without_fence",
        "UPDATE executions SET trigger = 'deactivate', method = 'deactivate', rank = 0 WHERE n = :n",
        "deactivate",
    ),
    "a deactivation that is suspended": (
        "deactivation_suspended",
        """UPDATE executions SET trigger = 'deactivate', method = 'deactivate', rank = 0 WHERE n = :n;
        UPDATE instances SET status = 'deactivating', suspension = CAST('{"reason": "why", "since": 1}' AS BLOB) WHERE id = :i""",
        "deactivate",
    ),
    "recurring, without a next run": (
        "recurring_without_next",
        """UPDATE recurring SET next = :now WHERE instance = :i; UPDATE instances SET recurs_at = NULL WHERE id = :i;
        DELETE FROM executions WHERE n = :n""",
        "tick",
    ),
    "recurring, in ten days": (
        "recurring_too_late",
        "UPDATE recurring SET next = next + 864000000000 WHERE instance = :i",
        "work",
    ),
    "a schedule that got lost": ("schedule_not_armed", "DELETE FROM recurring WHERE instance = :i", "work"),
    "a full queue of nothing": ("wrong_pending", "UPDATE instances SET pending = 200000 WHERE id = :i", "work"),
    "a budget that cannot be read": ("unreadable_budget", "UPDATE instances SET spent = x'5b' WHERE id = :i", "work"),
    "a priority that is gone": ("instance_without_priority", "UPDATE instances SET priority = 'none' WHERE id = :i", "work"),
    "a note that cannot be read": ("unreadable_note", "INSERT INTO owners_notes VALUES (:i, 'a', 1, x'5b')", "work"),
    "a delivery that nothing answers": (
        "delivery_without_execution",
        """INSERT INTO deliveries (execution, instance, webhook, delivery, received_at, size)
        SELECT 1000000, :i, id, 'sent-once', :now, 9 FROM webhooks WHERE instance = :i""",
        "work",
    ),
}
"""What is done to an instance whose `work` is due and that will not be woken: the name it is found under, and the method that then runs."""


async def seed(cli: Cli) -> list[str]:
    """Activate an instance for each state; a process for each would take longer than everything else here."""
    async with open_service(Settings(database=f"sqlite:///{cli.database}")) as service:
        (twist,) = await service.storage.twists()
        version = await service.storage.version(twist.id)
        assert version is not None
        root = await service.storage.root_priority()
        made = [await service.activate(version, root.id, Chosen({})) for _ in STATES]
        return [instance for instance, _ in made]


def plant(cli: Cli, instances: list[str]) -> None:
    """Have each instance be stuck in a way of its own."""
    now = time.time_ns() // 1000
    with closing(apsw.Connection(str(cli.database))) as connection, connection:
        connection.set_busy_timeout(20_000)
        for instance, (_, sql, _) in zip(instances, STATES.values(), strict=True):
            ((number,),) = connection.execute("SELECT n FROM executions WHERE instance = ? AND method = 'work'", (instance,))
            bound = {"i": instance, "n": number, "now": now}
            due = "UPDATE executions SET due = :now WHERE n = :n; UPDATE instances SET wake_at = NULL WHERE id = :i;"
            for statement in filter(str.strip, (due + sql).split(";")):
                connection.execute(statement, bound)


def has_run(cli: Cli, instance: str, method: str) -> bool:
    """Whether an execution of a method has succeeded."""
    counted = "SELECT count(*) FROM executions WHERE instance = ? AND method = ? AND status = 'succeeded'"
    return rows(cli.database, counted, instance, method) != [0]


def post(url: str) -> int:
    """Send the delivery that was sent once, and return the answer's status."""
    request = urllib.request.Request(url, data=b"{}", headers={"webhook-id": "sent-once"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def test_everything_that_is_stuck_beside_a_node_is_named_mended_and_then_done(cli: Cli) -> None:
    for number in (1, 2):
        cli.json("deploy", cli.write(STUCK.format(number=number)))
    instances = asyncio.run(seed(cli))
    by_state = dict(zip(STATES, instances, strict=True))
    with cli.serving():
        until(lambda: all(has_run(cli, instance, "activate") for instance in instances), "the activations")
        url = cli.json("store", "get", by_state["a delivery that nothing answers"], "url")
        plant(cli, instances)
        looked = cli.run("doctor", "--no-repair", "--json")
        assert looked.code == 1
        assert_named(looked.value["database"]["findings"], by_state, repaired=False)
        assert post(url) >= 500
        said = cli.run("doctor")
        assert said.code == 0, said.out
        for name, _, _ in STATES.values():
            assert f"repaired: {name}: " in said.out
        wanted = {state: method for state, (_, _, method) in STATES.items() if method is not None}
        until(lambda: all(has_run(cli, by_state[state], method) for state, method in wanted.items()), "the work to be done")
        assert post(url) == 202
        again = cli.json("doctor", "--no-repair")
        assert (again["healthy"], again["database"]["findings"]) == (True, [])
        status = {row["id"]: row["status"] for row in cli.json("instances")}
    left = {by_state[state] for state, (_, _, method) in STATES.items() if method == "deactivate"}
    assert status == dict.fromkeys(set(instances) - left, "active")


def assert_named(findings: list[dict[str, Any]], by_state: dict[str, str], *, repaired: bool) -> None:
    """Fail unless each state was found under its name."""
    found = {(one["name"], one["instance"]) for one in findings if one["repaired"] == repaired}
    for state, (name, _, _) in STATES.items():
        of = None if name == "delivery_without_execution" else by_state[state]
        assert (name, of) in found, state
