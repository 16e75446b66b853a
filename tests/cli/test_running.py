"""Commands that run twists, in processes of their own: sandbox, SQLite and signals are real."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.harness.commands import ROPEWALK, Cli
from tests.harness.waiting import until

COUNTER = '''
    """A counter."""
    import asyncio
    from ropewalk import GiveUp, Options, Priority, Twist


    class CounterOptions(Options):
        start: int = 0
        words: list[str] = []


    class Counter(Twist):
        """Counts."""

        options: CounterOptions

        async def activate(self, priority: Priority) -> None:
            if self.options.start < 0:
                raise GiveUp("cannot start below zero")
            await self.set("count", self.options.start)

        async def add(self, amount: int = 1) -> int:
            count = await self.get("count", int, default=0) + amount
            await self.set("count", count)
            self.log.info("counted to %d", count)
            return count

        async def fail(self) -> None:
            raise ValueError("\\x1b[31mno")

        async def soon(self, times: int) -> None:
            for _ in range(times):
                await self.run_task(self.add)

        async def later(self) -> None:
            await self.run_task(self.add, delay=3600)

        async def slow(self, seconds: float) -> str:
            self.log.info("slow begins")
            await asyncio.sleep(seconds)
            return "done"
'''


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with the counter deployed, to be copied."""
    cli = Cli(tmp_path_factory.mktemp("deployed"))
    cli.json("deploy", cli.write(COUNTER, "counter.py"))
    return cli


@pytest.fixture(scope="module")
def activated(deployed: Cli, tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """A database with an active counter, to be copied."""
    cli = deployed.copied(tmp_path_factory.mktemp("activated"))
    cli.json("activate", "counter", "--wait")
    return cli


@pytest.fixture
def cli(deployed: Cli, tmp_path: Path) -> Cli:
    """Commands on a database with the counter deployed."""
    return deployed.copied(tmp_path)


@pytest.fixture
def counter(activated: Cli, tmp_path: Path) -> Generator[Cli]:
    """Commands on a database with an active counter."""
    cli = activated.copied(tmp_path)
    yield cli
    assert cli.json("doctor", "--no-repair")["healthy"]


def background(cli: Cli, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and leave it running."""
    return subprocess.Popen(
        [ROPEWALK, *arguments], cwd=cli.folder, env=cli.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


# ── Deploy ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_leaves_nothing(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    path = cli.write(COUNTER, "counter.py")
    result = cli.json("deploy", path, "--dry-run")
    assert (result["twist"], result["version"], result["permissions"], result["permissions_added"]) == ("counter", 1, [], [])
    assert [entry.name for entry in tmp_path.iterdir()] == ["counter.py"]


def test_an_unchanged_deploy_makes_no_version(cli: Cli) -> None:
    again = cli.json("deploy", "counter.py")
    assert (again["version"], again["unchanged"]) == (1, True)
    cli.write(COUNTER + "    # changed\n", "counter.py")
    changed = cli.json("deploy", "counter.py")
    assert changed["version"] == 2
    assert "unchanged" not in changed


def test_deploy_under_another_name(cli: Cli) -> None:
    assert cli.json("deploy", "counter.py", "--name", "abacus")["twist"] == "abacus"
    assert [row["name"] for row in cli.json("twists")] == ["abacus", "counter"]
    assert cli.refused("deploy", "counter.py", "--name", "a b").type == "BundleError"


def test_deploy_and_wait_sees_the_upgrades_through(counter: Cli) -> None:
    counter.write(
        COUNTER + "\n        async def upgrade(self) -> None:\n            await self.set('count', 100)\n", "counter.py"
    )
    result = counter.json("deploy", "counter.py", "--wait")
    assert len(result["upgrading"]) == 1
    assert counter.json("store", "get", "counter", "count") == 100
    assert counter.json("instances")[0]["version"] == 2


def test_deploy_and_wait_fails_with_the_upgrade(counter: Cli) -> None:
    failing = "\n        async def upgrade(self) -> None:\n            raise __import__('ropewalk').GiveUp('not yet')\n"
    counter.write(COUNTER + failing, "counter.py")
    refused = counter.refused("deploy", "counter.py", "--wait")
    assert (refused.code, refused.type, refused.message) == (1, "GiveUp", "not yet")
    assert counter.json("instances")[0]["version"] == 1


def test_a_version_that_breaks_pending_tasks_is_refused(counter: Cli) -> None:
    counter.json("invoke", "counter", "later")
    counter.write(COUNTER.replace("async def add", "async def plus").replace("self.add", "self.plus"), "counter.py")
    refused = counter.refused("deploy", "counter.py")
    assert refused.type == "LiveCallbacks"
    assert "add(): there is no such method: 1 task of instance" in refused.message
    assert counter.json("deploy", "counter.py", "--force")["version"] == 2


def test_a_module_that_raises_shows_the_author_s_traceback_to_people(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("deploy", cli.write("raise KeyError('\\x1b[2J')", "broken.py"))
    assert done.code == 1
    assert "broken.py" in done.err
    assert "\x1b" not in done.err
    assert done.out == ""


# ── Activate ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_activate_queues_and_drain_runs(cli: Cli) -> None:
    made = cli.json("activate", "counter", "--option", "start=5")
    assert list(made) == ["instance", "execution"]
    assert cli.json("instances")[0]["status"] == "activating"
    drained = cli.json("drain")
    assert (drained["idle"], drained["executions"], drained["succeeded"]) == (True, 1, 1)
    assert cli.json("instances")[0]["status"] == "active"
    assert cli.json("store", "get", made["instance"], "count") == 5
    assert cli.json("execution", made["execution"])["trigger"] == "activate"


def test_activate_and_wait_fails_with_its_error(cli: Cli) -> None:
    done = cli.run("activate", "counter", "--option", "start=-1", "--wait", "--json")
    assert done.code == 1
    assert done.value["error"] == {"type": "GiveUp", "message": "cannot start below zero"}
    assert cli.json("execution", done.value["execution"])["status"] == "dead"
    assert cli.json("instances")[0]["status"] == "failed"
    assert "activation is dead" in cli.refused("invoke", "counter", "add").message


def test_options_from_elsewhere(cli: Cli) -> None:
    (cli.folder / "words.json").write_text('["a"]')
    cli.environment["START"] = "7"
    cli.json("activate", "counter", "--option", "start=@env:START", "--option", "words=@words.json", "--wait")
    assert cli.json("store", "get", "counter", "count") == 7


def test_an_option_from_stdin(cli: Cli) -> None:
    assert cli.run("activate", "counter", "--option", "start=@-", "--wait", stdin="9\n").code == 0
    assert cli.json("store", "get", "counter", "count") == 9


@pytest.mark.parametrize("option", ["start=many", "stat=1", "start=@gone", "start=@env:NO_SUCH_VARIABLE"])
def test_wrong_options_make_no_instance(cli: Cli, option: str) -> None:
    assert cli.refused("activate", "counter", "--option", option).code == 1
    assert cli.json("instances") == []


# ── Invoke ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_invoke_by_position_and_by_name(counter: Cli) -> None:
    first = counter.json("invoke", "counter", "add", "--args", "[2]")
    assert list(first) == ["execution", "result"]
    assert first["result"] == 2
    assert counter.json("invoke", "counter", "add", "--args", '{"amount": 3}')["result"] == 5
    assert counter.run("invoke", "counter", "add").out == "6\n"
    assert counter.json("execution", first["execution"])["trigger"] == "invoke"


def test_a_failed_invoke_prints_its_error(counter: Cli) -> None:
    done = counter.run("invoke", "counter", "fail", "--json")
    assert done.code == 1
    assert done.value["error"] == {"type": "ValueError", "message": "\x1b[31mno"}
    assert "\x1b" not in done.err
    found = counter.json("execution", done.value["execution"])
    assert (found["status"], found["attempt"]) == ("failed", 1)
    assert "in fail" in found["error"]["traceback"]


def test_arguments_that_do_not_fit_fail_once(counter: Cli) -> None:
    assert counter.refused("invoke", "counter", "add", "--args", '["many"]').code == 1
    assert counter.refused("invoke", "counter", "add", "--args", '{"wrong": 1}').type == "TypeError"


def test_an_invoke_does_not_wait_for_a_node_that_serves_another_instance(counter: Cli) -> None:
    other = counter.json("activate", "counter", "--wait")["instance"]
    (first,) = [row["id"] for row in counter.json("instances") if row["id"] != other]
    slow = background(counter, "invoke", first, "slow", "--args", "[30]")
    until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
    assert counter.json("invoke", other, "add")["result"] == 1
    slow.send_signal(signal.SIGINT)
    assert slow.communicate(timeout=30)[0] == ""
    (left,) = [row for row in counter.json("executions") if row["method"] == "slow"]
    counter.json("cancel", left["id"])


def test_interrupting_an_invoke(counter: Cli) -> None:
    invoking = background(counter, "invoke", "counter", "slow", "--args", "[60]")
    until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
    invoking.send_signal(signal.SIGINT)
    out, err = invoking.communicate(timeout=30)
    assert (invoking.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "is not over: `ropewalk execution" in err
    (left,) = [row for row in counter.json("executions") if row["method"] == "slow"]
    counter.json("cancel", left["id"])


def test_terminating_an_invoke(counter: Cli) -> None:
    invoking = background(counter, "invoke", "counter", "slow", "--args", "[60]")
    until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
    invoking.send_signal(signal.SIGTERM)
    invoking.communicate(timeout=30)
    assert invoking.returncode == 143
    (left,) = [row for row in counter.json("executions") if row["method"] == "slow"]
    counter.json("cancel", left["id"])


# ── Drain ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_drain_runs_what_is_due_and_leaves_what_is_not(counter: Cli) -> None:
    counter.json("invoke", "counter", "later")
    counter.json("invoke", "counter", "soon", "--args", "[5]")
    assert counter.json("drain", "--until-idle")["idle"]
    assert [row["method"] for row in counter.json("tasks")] == ["add"]
    assert counter.json("store", "get", "counter", "count") == 5


def test_drain_with_nothing_to_do(counter: Cli) -> None:
    done = counter.run("drain")
    assert (done.code, done.out, done.err) == (0, "", "Nothing was due.\n")


def test_a_drain_that_is_not_idle_in_time_exits_3(counter: Cli) -> None:
    counter.json("activate", "counter")
    counter.write(COUNTER.replace('await self.set("count", self.options.start)', "await asyncio.sleep(60)"), "slow.py")
    counter.json("deploy", "slow.py", "--name", "slow")
    made = counter.json("activate", "slow")
    done = counter.run("drain", "--until-idle", "--timeout", "0.5", "--json")
    assert done.code == 3
    assert (done.value["idle"], done.value["error"]["type"]) == (False, "NotIdle")
    counter.json("deactivate", made["instance"])


# ── Serve ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_node_runs_what_commands_ask_for(counter: Cli) -> None:
    with counter.serving() as node:
        assert counter.json("invoke", "counter", "add")["result"] == 1
        assert counter.json("activate", "counter", "--wait")["instance"]
        assert node.terminate() == 0
    assert "ready: listening at http://127.0.0.1:" in counter.log_tail()
    assert "stopped" in counter.log_tail()


def test_sigterm_lets_what_runs_finish(counter: Cli) -> None:
    with counter.serving() as node:
        invoking = background(counter, "invoke", "counter", "slow", "--args", "[1.5]")
        until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
        assert node.terminate() == 0
        assert invoking.communicate(timeout=30)[0] == '"done"\n'


def test_a_second_signal_ends_it_at_once(counter: Cli) -> None:
    with counter.serving() as node:
        invoking = background(counter, "invoke", "counter", "slow", "--args", "[2.5]")
        until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
        node.signal(signal.SIGTERM)
        until(lambda: "a second signal ends them" in counter.log_tail(), "the node to be draining")
        node.signal(signal.SIGINT)
        assert node.wait(10) == 130
    # The command that waits runs it itself, now that no node does.
    assert invoking.communicate(timeout=60)[0] == '"done"\n'


def test_a_node_logs_json_lines(cli: Cli) -> None:
    with cli.serving("--json") as node:
        assert node.terminate() == 0
    lines = [json.loads(line) for line in cli.log_tail().splitlines()]
    ready = next(line for line in lines if line["message"].startswith("ready"))
    assert ready["url"] == node.url
    assert {"time", "level", "logger", "node", "database"} <= set(ready)


def test_a_taken_port_is_named(cli: Cli) -> None:
    with cli.serving() as node:
        refused = cli.refused("serve", "--port", node.url.rpartition(":")[2])
    assert refused.code == 1
    assert "cannot listen on 127.0.0.1, port" in refused.message


def test_a_node_s_figures(counter: Cli) -> None:
    with counter.serving() as node:
        counter.json("invoke", "counter", "add")
        with urllib.request.urlopen(f"{node.url}/metrics", timeout=10) as answer:
            figures = answer.read().decode()
        assert "ropewalk_attempts_succeeded_total 1.0" in figures
        assert "ropewalk_ready 0.0" in figures
        assert node.terminate() == 0


def test_serve_makes_the_database(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    with cli.serving() as node:
        assert cli.json("instances") == []
        assert node.terminate() == 0


def test_following_logs(counter: Cli) -> None:
    following = background(counter, "logs", "counter", "-f", "--json")
    try:
        counter.json("invoke", "counter", "add")
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["message"] == "counted to 1"
        counter.json("invoke", "counter", "add")
        assert json.loads(following.stdout.readline())["message"] == "counted to 2"
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
    finally:
        following.kill()
        following.communicate()


# ── Deactivate, cancel, doctor ────────────────────────────────────────────────────────────────────────────────────────────────


def test_deactivate_and_wait(counter: Cli) -> None:
    made = counter.json("deactivate", "counter", "--wait")
    assert counter.json("instances") == []
    assert counter.json("execution", made["execution"])["status"] == "succeeded"
    assert [row["method"] for row in counter.json("executions", "--instance", made["instance"])] == ["deactivate", "activate"]
    assert counter.refused("deactivate", "counter").type == "NotFound"


def test_deactivating_again_waits_for_the_same_execution(counter: Cli) -> None:
    first = counter.json("deactivate", "counter")
    assert counter.json("deactivate", first["instance"], "--wait") == first


def test_cancelling_what_runs_ends_it(counter: Cli) -> None:
    with counter.serving():
        invoking = background(counter, "invoke", "counter", "slow", "--args", "[60]", "--json")
        until(lambda: "slow begins" in counter.run("logs").out, "the method to run")
        (running,) = counter.json("executions", "--status", "running")
        counter.json("cancel", running["id"])
        out, _ = invoking.communicate(timeout=30)
        assert invoking.returncode == 1
        assert json.loads(out)["error"]["type"] == "cancelled"


def test_doctor_for_people(counter: Cli) -> None:
    done = counter.run("doctor")
    assert done.code == 0
    assert "healthy" in done.out
    assert done.err == "All is well.\n"


def test_doctor_without_a_database(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    done = cli.run("doctor", "--json")
    assert done.code == 1
    assert "no database at" in done.value["error"]["message"]
    assert done.value["isolation"]["below_floor"] is False
    assert list(tmp_path.iterdir()) == []


RECURS = """
from ropewalk import Priority, Twist, on

class Recurs(Twist):
    async def activate(self, priority: Priority) -> None:
        await self.schedule_recurring("poll", self.poll, every=3600, catch_up="all")

    async def poll(self) -> None: ...

    @on.schedule("0 9 * * 1-5", tz="Europe/Paris")
    async def report(self) -> None: ...
"""


def test_recurring_tasks_are_listed_and_cancelled(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.json("deploy", cli.write(RECURS, "recurs.py"))
    cli.json("activate", "recurs", "--wait")
    rows = {row["key"]: row for row in cli.json("tasks")}
    poll, report = rows["poll"], rows["report"]
    assert (poll["method"], poll["status"], poll["recurring"]["every"], poll["recurring"]["catch_up"]) == (
        "poll",
        "queued",
        3600,
        "all",
    )
    assert (report["recurring"]["cron"], report["recurring"]["tz"]) == ("0 9 * * 1-5", "Europe/Paris")
    assert poll["run_at"].endswith("Z")
    shown = cli.run("tasks").out
    assert "every 3600 s" in shown
    assert "0 9 * * 1-5 Europe/Paris" in shown
    cli.write(RECURS.replace("poll", "look"), "recurs.py")
    assert "1 recurring task of instance" in cli.refused("deploy", "recurs.py").message
    assert cli.json("cancel", poll["id"][:10]) == {"task": poll["id"], "status": "cancelled"}
    assert [row["key"] for row in cli.json("tasks")] == ["report"]


FAILING = """
from ropewalk import RetryPolicy, Twist

class Failing(Twist):
    retry = RetryPolicy(attempts=1)

    async def begin(self) -> None:
        for number in range(5):
            await self.run_task(self.fail, number)

    async def fail(self, number: int) -> None:
        if not await self.get("mended", bool):
            raise LookupError(str(number))
        await self.set(f"done:{number}", True)

    async def mend(self) -> None:
        await self.set("mended", True)
"""


def test_dead_executions_are_retried_in_bulk(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    cli.json("deploy", cli.write(FAILING, "failing.py"))
    cli.json("activate", "failing", "--wait")
    cli.json("invoke", "failing", "begin")
    cli.json("drain", "--until-idle")
    (told,) = cli.json("activities")
    assert (told["title"], told["notes"]) == ("failing: 5 executions have failed for good", 1)
    cli.json("invoke", "failing", "mend")
    wanted = ("retry", "--twist", "failing", "--method", "fail", "--error", "LookupError", "--since", "1h")
    dry = cli.json(*wanted, "--dry-run")
    assert (dry["count"], dry["dry_run"]) == (5, True)
    assert cli.json("retry", "--instance", "failing", "--status", "failed") == {
        "count": 0,
        "executions": [],
        "skipped": [],
        "dry_run": False,
    }
    done = cli.json(*wanted)
    assert (done["executions"], done["skipped"], done["dry_run"]) == (dry["executions"], [], False)
    cli.json("drain", "--until-idle")
    assert cli.json("store", "keys", "failing", "--prefix", "done:") == [f"done:{number}" for number in range(5)]
    assert "0 executions queued again" in cli.run("retry", "--status", "dead").err


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        ([], 2, "name one EXECUTION"),
        (["abc", "--status", "dead"], 2, "name one EXECUTION"),
        (["--since", "yesterday"], 2, "neither a duration"),
        (["--twist", "nobody"], 1, "no twist 'nobody'"),
    ],
)
def test_what_cannot_be_retried_in_bulk(cli: Cli, words: list[str], code: int, why: str) -> None:
    refused = cli.refused("retry", *words)
    assert refused.code == code
    assert why in refused.message
