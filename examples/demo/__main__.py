"""`make demo`: three twists copy a real HTTP API into activities while the node under them is killed twice.

    compute the rows ─► serve them with Datasette ─► deploy and activate the examples ─► a node runs them
    ─► SIGKILL at a third and at two thirds, started again each time ─► compare every row with every activity

Ends with 0 only when each row became exactly one activity, in each of the three ways. Leaves `.demo/ropewalk.db`, or the folder that is named, to be looked at.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from examples.demo import dataset, outcome
from examples.demo.node import ROPEWALK, CommandFailed, Ropewalk
from examples.demo.outcome import Sync
from examples.demo.process import DidNotStart
from examples.demo.screen import Screen

EXAMPLES = Path(__file__).parent.parent
TWISTS = ("holidays-by-page", "holidays-by-token", "holidays-by-item")
KILL_AT = (0.3, 0.65)
SYNC_SECONDS = 75
MEASURE_SECONDS = 0.5


class TookTooLong(Exception):
    """The sync did not finish in time; the message says how far it came."""


def main(folder: Path) -> int:
    """Run the demo in a folder, which is emptied first; returns the exit code."""
    screen = Screen()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    screen.step("Computing the public holidays of every country (PyPI: holidays)")
    calendar = folder / "calendar.db"
    rows = dataset.build(calendar)
    screen.step(f"Serving {rows:,} rows with Datasette (PyPI: datasette)")
    with dataset.served(calendar, folder / "datasette.log") as url:
        ropewalk = Ropewalk(folder.resolve(), allow_private=f"{url}/*")
        try:
            problems = sync_and_compare(screen, ropewalk, url, calendar, rows)
        except (CommandFailed, DidNotStart, TookTooLong) as error:
            problems = [str(error), f"the node's log ends:\n{ropewalk.log_tail()}"]
        finally:
            ropewalk.end()
    for problem in problems:
        screen.problem(problem)
    if not problems:
        screen.step(f"Every row became one activity, three times over, in {time.monotonic() - started:.0f} s. Have a look:")
        suggest(screen, ropewalk)
    return 1 if problems else 0


def sync_and_compare(screen: Screen, ropewalk: Ropewalk, url: str, calendar: Path, rows: int) -> list[str]:
    """Deploy, activate, run, kill, wait, stop; returns what is not as it has to be."""
    screen.step("Deploying and activating the examples")
    syncs = [begin(ropewalk, twist, url) for twist in TWISTS]
    screen.step(f"Running them on one node ({ropewalk.url}), which is killed twice")
    began = time.monotonic()
    ropewalk.start()
    watch(screen, ropewalk, syncs, rows)
    seconds = time.monotonic() - began
    screen.step("Stopping the node (SIGTERM), draining what is left, asking the doctor")
    problems = [f"the node ended with {code}"] if (code := ropewalk.stop()) else []
    ropewalk.run("drain", "--until-idle", "--timeout", "20")
    ropewalk.run("doctor", "--no-repair")
    with outcome.reading(ropewalk.database) as connection:
        lines = [outcome.line(connection, sync, rows) for sync in syncs]
        problems += outcome.mismatches(connection, syncs, calendar, url)
    screen.table(lines)
    executions = sum(line.executions for line in lines)
    screen.plain(
        f"{executions:,} executions in {seconds:.1f} s: {executions / seconds:.0f} executions/s, "
        f"{sum(line.activities for line in lines) / seconds:,.0f} activities/s; "
        f"peak memory of the node and its sandbox {ropewalk.peak_memory / 2**20:.0f} MiB; killed {ropewalk.kills} times"
    )
    return problems


def begin(ropewalk: Ropewalk, twist: str, url: str) -> Sync:
    """Deploy an example and activate it in a priority of its own."""
    ropewalk.run("deploy", str(EXAMPLES / f"{twist.replace('-', '_')}.py"))
    priority = ropewalk.run("priority", "create", f"Public holidays, {twist}")["id"]
    instance = ropewalk.run("activate", twist, "--priority", priority, "--option", f"base_url={url}")["instance"]
    return Sync(twist=twist, instance=instance, priority=priority)


def watch(screen: Screen, ropewalk: Ropewalk, syncs: list[Sync], rows: int) -> None:
    """Show progress until every activity is there; kill the node on the way and start it again.

    Raises:
        TookTooLong: `SYNC_SECONDS` have passed, or the node ended by itself.
    """
    kill_at = [share * rows * len(syncs) for share in KILL_AT]
    deadline = time.monotonic() + SYNC_SECONDS
    measured = 0.0
    with screen.bars() as bars, outcome.reading(ropewalk.database) as connection:
        while True:
            made = outcome.made(connection, syncs)
            bars.update(made, rows)
            if all(count >= rows for count in made.values()):
                return
            if ropewalk.ended() or time.monotonic() > deadline:
                raise TookTooLong(f"after {SYNC_SECONDS} s or the node's end, this was made of {rows:,} rows each: {made}")
            if kill_at and sum(made.values()) >= kill_at[0]:
                kill_at.pop(0)
                kill_and_restart(screen, ropewalk, outcome.running(connection))
            if time.monotonic() - measured > MEASURE_SECONDS:
                ropewalk.measure()
                measured = time.monotonic()
            time.sleep(0.1)


def kill_and_restart(screen: Screen, ropewalk: Ropewalk, running: int) -> None:
    """Kill the node in the middle of what it does, and start it again."""
    ropewalk.kill()
    killed = time.monotonic()
    ropewalk.start()
    screen.event(
        f"node killed (SIGKILL) with {running} executions running; started again, ready in {time.monotonic() - killed:.1f} s"
    )


def suggest(screen: Screen, ropewalk: Ropewalk) -> None:
    """Print three commands to try on the database that is left behind."""
    command, database = (os.path.relpath(path) for path in (ROPEWALK, ropewalk.database))
    with outcome.reading(ropewalk.database) as connection:
        interrupted = outcome.interrupted(connection)
    one = f"execution {interrupted}" if interrupted else "executions --limit 5"
    for arguments in ("instances", one, "activities --limit 5"):
        screen.plain(f"    {command} {arguments} --database sqlite:///{database}")


def _end(number: int, _: object) -> None:
    """Unwind, so that what was started is ended, when the demo itself is told to."""
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")))
