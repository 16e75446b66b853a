"""The listings, on a database without a sandbox: their JSON to the letter, and what people see."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from ropewalk.storage.records import ErrorInfo, LogLine, PutActivity, PutNote, PutValue
from ropewalk.wire.messages import ActivityRecord, NoteRecord
from tests.cli.calling import Ropewalk
from tests.service.seeding import CLOCK, activated, deployed, opened, queued, settled

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ESCAPE = "\x1b[31mred"


async def seed(path: Path) -> None:
    """Make one instance with three executions (one dead, one for later), an activity, two values and two log lines."""
    async with opened(path) as storage:
        twist = await deployed(storage, "issue-sync", "page", "fails")
        await activated(storage, twist, "aaa111")
        root = await storage.root_priority()
        await storage.enqueue(queued("aaa111", "e1", "page"))
        activity = ActivityRecord(
            id="act1", type="action", title=ESCAPE, source="s1", meta=b'{"k":1}', priority=root.id, created_at=CLOCK.now()
        )
        await settled(
            storage,
            "aaa111",
            effects=[
                PutValue(ns="", key="state", value=b'{"page":2}'),
                PutValue(ns="calendar", key="token", value=b'"t"'),
                PutActivity(activity=activity),
                PutNote(note=NoteRecord(id="note1", content="text", activity="act1", created_at=CLOCK.now())),
            ],
            logs=[
                LogLine(time=CLOCK.now(), level=20, message="first", attempt=1),
                LogLine(time=CLOCK.now(), level=31, message=f"second {ESCAPE}", attempt=1, fields=b'{"n":1}'),
            ],
        )
        await storage.enqueue(queued("aaa111", "e2", "fails"))
        await settled(storage, "aaa111", error=ErrorInfo(type="ValueError", message=ESCAPE, traceback="Traceback: …"))
        await storage.enqueue(queued("aaa111", "e3", "page", run_at=CLOCK.now() + 3_600_000_000))


@pytest.fixture
def seeded(ropewalk: Ropewalk) -> Ropewalk:
    asyncio.run(seed(ropewalk.folder / "ropewalk.db"))
    return ropewalk


def test_twists(seeded: Ropewalk) -> None:
    (row,) = seeded.json("twists")
    assert list(row) == ["id", "name", "version", "instances", "created_at"]
    assert (row["name"], row["version"], row["instances"]) == ("issue-sync", 1, 1)
    assert TIME.fullmatch(row["created_at"])


def test_instances(seeded: Ropewalk) -> None:
    (row,) = seeded.json("instances", "--twist", "issue-sync")
    assert list(row) == [
        *("id", "twist", "version", "status", "priority", "budgets", "suspension"),
        *("upgrading_to", "upgrade_error", "awaiting_grant"),
    ]
    assert (row["id"], row["twist"], row["version"], row["status"], row["upgrade_error"]) == (
        "aaa111",
        "issue-sync",
        1,
        "active",
        None,
    )
    assert row["budgets"]["pending"] == {"used": 1, "limit": 200_000}
    assert row["suspension"] is None


def test_tasks(seeded: Ropewalk) -> None:
    (row,) = seeded.json("tasks", "--instance", "aaa")
    assert list(row) == ["id", "instance", "method", "key", "run_at", "status", "recurring"]
    assert row["recurring"] is None
    assert (row["id"], row["method"], row["key"], row["status"]) == ("e3", "page", None, "queued")
    assert TIME.fullmatch(row["run_at"])


def test_executions_are_newest_first(seeded: Ropewalk) -> None:
    rows = seeded.json("executions")
    assert [row["id"] for row in rows] == ["e2", "e1", "aaa111-activate"]
    assert list(rows[0]) == ["id", "instance", "method", "status", "attempt", "trigger", "queued_at", "duration_ms", "error"]
    assert (rows[0]["status"], rows[0]["error"], rows[1]["error"]) == ("dead", "ValueError", None)
    assert isinstance(rows[0]["duration_ms"], float)


def test_executions_by_status_and_limit(seeded: Ropewalk) -> None:
    assert [row["id"] for row in seeded.json("executions", "--status", "dead")] == ["e2"]
    assert [row["id"] for row in seeded.json("executions", "--limit", "1", "--instance", "issue-sync")] == ["e2"]


def test_one_execution(seeded: Ropewalk) -> None:
    shape = seeded.json("execution", "e1")
    assert list(shape) == [
        *("id", "twist", "version", "instance", "method", "trigger", "cause", "status", "attempt", "attempts", "queued_at"),
        *("started_at", "finished_at", "duration_ms", "cpu_ms", "memory_peak_bytes", "requests", "error", "logs"),
        *("http_requests", "http_requests_unlisted"),
    ]
    assert (shape["twist"], shape["version"], shape["cpu_ms"], shape["memory_peak_bytes"], shape["requests"]) == (
        "issue-sync",
        1,
        1.5,
        4096,
        3,
    )
    assert shape["error"] is None
    assert [list(line) for line in shape["logs"]] == [["time", "level", "message", "attempt", "fields"]] * 2
    assert [(line["level"], line["fields"]) for line in shape["logs"]] == [("INFO", None), ("WARNING", {"n": 1})]
    assert [attempt["status"] for attempt in shape["attempts"]] == ["succeeded"]


def test_the_error_of_an_execution(seeded: Ropewalk) -> None:
    assert seeded.json("execution", "e2")["error"] == {"type": "ValueError", "message": ESCAPE, "traceback": "Traceback: …"}


def test_logs_are_newest_first_for_programs(seeded: Ropewalk) -> None:
    rows = seeded.json("logs")
    assert [row["message"][:6] for row in rows] == ["second", "first"]
    assert [row["execution"] for row in seeded.json("logs", "--execution", "e1", "--limit", "1")] == ["e1"]
    assert all(isinstance(row["id"], str) for row in rows)


def test_logs_by_level(seeded: Ropewalk) -> None:
    assert [row["level"] for row in seeded.json("logs", "issue-sync", "--level", "warning")] == ["WARNING"]


def test_logs_are_oldest_first_for_people(seeded: Ropewalk) -> None:
    out = seeded("logs").out
    assert out.index("first") < out.index("second")


def test_following_a_finished_execution_ends(seeded: Ropewalk) -> None:
    done = seeded("logs", "--execution", "e1", "-f", "--json")
    assert done.code == 0
    assert len(done.out.splitlines()) == 2


def test_activities(seeded: Ropewalk) -> None:
    failures, row = seeded.json("activities")
    assert "dead" in failures["title"] or "failed" in failures["title"]
    for name in ("id", "type", "title", "start", "done_at", "source", "meta", "created_at", "priority", "notes"):
        assert name in row
    assert (row["id"], row["type"], row["source"], row["meta"], row["notes"]) == ("act1", "action", "s1", {"k": 1}, 1)


def test_priorities(seeded: Ropewalk) -> None:
    (root,) = seeded.json("priorities")
    assert list(root) == ["id", "title", "parent"]
    made = seeded.json("priority", "create", "Work")
    below = seeded.json("priority", "create", "Reading", "--parent", made["id"][:8])
    assert (made["parent"], below["parent"]) == (root["id"], made["id"])
    assert [row["title"] for row in seeded.json("priorities")][:2] == ["Reading", "Work"]


def test_a_priority_makes_the_database(ropewalk: Ropewalk) -> None:
    ropewalk.json("priority", "create", "Work")
    assert (ropewalk.folder / "ropewalk.db").is_file()


@pytest.mark.parametrize(
    "words", [["executions"], ["execution", "e2"], ["activities"], ["logs"], ["execution", "e1"], ["tasks"], ["instances"]]
)
def test_people_see_no_terminal_escapes(seeded: Ropewalk, words: list[str]) -> None:
    done = seeded(*words)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err


def test_empty_listings_say_so_on_stderr(seeded: Ropewalk) -> None:
    done = seeded("executions", "--status", "failed")
    assert (done.out, done.err) == ("", "There are no such executions.\n")
    assert seeded.json("executions", "--status", "failed") == []


# ── The store ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_store_get_prints_the_json_value(seeded: Ropewalk) -> None:
    assert seeded("store", "get", "issue-sync", "state").out == '{"page":2}\n'
    assert seeded.json("store", "get", "issue-sync", "token", "--tool", "calendar") == "t"


def test_store_get_of_nothing(seeded: Ropewalk) -> None:
    done = seeded("store", "get", "issue-sync", "gone", "--json")
    assert done.code == 1
    assert done.error[0] == "NotFound"


def test_store_set_keys_clear(seeded: Ropewalk) -> None:
    assert seeded.json("store", "set", "issue-sync", "item:1", '{"a": [1, 2.5, null, "ü"]}') == {
        "instance": "aaa111",
        "key": "item:1",
    }
    assert seeded.json("store", "get", "aaa", "item:1") == {"a": [1, 2.5, None, "ü"]}
    assert seeded.json("store", "keys", "issue-sync") == ["item:1", "state"]
    assert seeded("store", "keys", "issue-sync", "--prefix", "item:").out == "item:1\n"
    assert seeded.json("store", "clear", "issue-sync", "item:1", "gone") == {"instance": "aaa111", "cleared": 1}
    assert seeded.json("store", "clear", "issue-sync", "--all")["cleared"] == 1
    assert seeded.json("store", "keys", "issue-sync") == []
    assert seeded.json("store", "keys", "issue-sync", "--tool", "calendar") == ["token"]


@pytest.mark.parametrize("words", [[], ["state", "--all"], ["--prefix", "x", "--all"]])
def test_store_clear_wants_to_know_what(seeded: Ropewalk, words: list[str]) -> None:
    assert seeded("store", "clear", "issue-sync", *words, "--json").code == 2


def test_store_set_reads_files(seeded: Ropewalk) -> None:
    (seeded.folder / "value.json").write_text("[1]\n")
    seeded.json("store", "set", "issue-sync", "x", "@value.json")
    assert seeded.json("store", "get", "issue-sync", "x") == [1]
    assert seeded("store", "set", "issue-sync", "x", "@gone.json").code == 1


@pytest.mark.parametrize("value", ["hello", "[1,", "NaN", "[Infinity]", '"\\ud800"', "", "'a'"])
def test_store_set_wants_json(seeded: Ropewalk, value: str) -> None:
    done = seeded("store", "set", "issue-sync", "x", value, "--json")
    assert done.code == 2
    assert "not JSON" in done.error[1]


@pytest.mark.parametrize("key", ["k" * 513, "\udcff"])
def test_store_set_bounds_keys(seeded: Ropewalk, key: str) -> None:
    assert seeded("store", "set", "issue-sync", key, "1", "--json").code == 1


def test_store_set_bounds_values(seeded: Ropewalk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROPEWALK_LIMIT_VALUE", "10B")
    done = seeded("store", "set", "issue-sync", "x", '"0123456789"', "--json")
    assert done.error == ("ValueTooLarge", "the value of 'x' has 12 bytes and may have 10")


# ── Changing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_retry_queues_a_dead_execution_again(seeded: Ropewalk) -> None:
    assert seeded.json("retry", "e2") == {"execution": "e2", "status": "queued"}
    assert seeded.json("execution", "e2")["status"] == "queued"


def test_retry_of_what_succeeded_is_refused(seeded: Ropewalk) -> None:
    assert seeded("retry", "e1", "--json").code == 1


def test_cancel_a_task(seeded: Ropewalk) -> None:
    assert seeded.json("cancel", "e3") == {"execution": "e3", "status": "cancelled"}
    assert seeded.json("tasks") == []
    again = seeded("cancel", "e3", "--json")
    assert again.code == 1
    assert again.error == ("NotCancelled", "execution e3 was over already: it is cancelled")


def test_deactivate_fences_at_once(seeded: Ropewalk) -> None:
    made = seeded.json("deactivate", "issue-sync")
    assert made["instance"] == "aaa111"
    assert seeded.json("instances")[0]["status"] == "deactivating"
    assert seeded.json("tasks") == []
    refused = seeded("invoke", "issue-sync", "page", "--json")
    assert refused.code == 1
    assert "is being deactivated" in refused.error[1]


# ── Wrong arguments ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_invoke_of_no_method_names_the_nearest(seeded: Ropewalk) -> None:
    done = seeded("invoke", "issue-sync", "pgae", "--json")
    assert done.error == ("CallbackNotFound", "issue-sync version 1 has no method 'pgae': did you mean 'page'?")
    assert done.code == 1


@pytest.mark.parametrize(("arguments", "message"), [("[1,", "column 4"), ("3", "a JSON array"), ("[NaN]", "not JSON")])
def test_invoke_with_wrong_arguments(seeded: Ropewalk, arguments: str, message: str) -> None:
    done = seeded("invoke", "issue-sync", "page", "--args", arguments, "--json")
    assert done.code == 2
    assert message in done.error[1]


@pytest.mark.parametrize(
    "words", [["invoke", "gone", "x"], ["store", "get", "gone", "k"], ["deactivate", "gone"], ["activate", "gone"]]
)
def test_what_is_not_there(seeded: Ropewalk, words: list[str]) -> None:
    done = seeded(*words, "--json")
    assert (done.code, done.error[0]) == (1, "NotFound")


@pytest.mark.parametrize("option", ["x", "=1"])
def test_options_are_pairs(seeded: Ropewalk, option: str) -> None:
    assert seeded("activate", "issue-sync", "--option", option, "--json").code == 2


def test_an_unknown_option(seeded: Ropewalk) -> None:
    done = seeded("activate", "issue-sync", "--option", "x=1", "--json")
    assert done.error == ("InvalidValue", "there is no option 'x': this twist has none")
