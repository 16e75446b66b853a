"""While a hostile twist keeps the host as busy as it can, others are answered: not only afterwards."""

from __future__ import annotations

import pytest

from ropewalk.storage.records import PENDING
from tests.escape.attacks.frames import RAW
from tests.escape.harness import A_SECOND, Attack, Stages

pytestmark = pytest.mark.asyncio(loop_scope="session")

_SLOWEST = 30
"""Times as long as before that an answer may take on a machine too busy for a second."""

FLOODS = {
    "millions of keys": 'raw(messages.StoreRead(id=1, ns="", keys=[str(n) for n in range(1_000_000)]))',
    "millions of values": 'raw(messages.StoreWrite(id=1, ns="", items={str(n): b"" for n in range(1_000_000)}))',
    "millions of headers": """
        raw(messages.Fetch(id=1, ns="", method="GET", url="", headers=[("a", "b")] * 2_000_000))
    """,
    "a million notes": """
        note = messages.NoteRecord(id="", content="")
        about = messages.ActivityRecord(id="", type="note", title="")
        new = messages.NewActivityRecord(activity=about, notes=[note] * 1000)
        raw(messages.ActivitiesCreate(id=1, ns="", items=[new] * 1000))
    """,
    "values of a million lists": """
        values = {str(n): b"[" + b"[]," * 349_000 + b"[]]" for n in range(8)}
        for number in range(1, 10):
            raw(messages.StoreWrite(id=number, ns="", items=values))
    """,
    "log lines without end": """
        line = encoded(messages.Log(time=0, level=0, message="")) * 5000
        while True:
            write_all(line)
    """,
    "requests as fast as they are answered": """
        for number in range(1, 1001):
            raw(messages.StoreRead(id=number, ns="", keys=["key"]))
            replies(1)
    """,
    "what is no message, byte by byte": """
        while True:
            write_all(b"\\0\\0\\1\\0" + b"x")
            for _ in range(255):
                os.write(3, b"x")
    """,
    "threads that write": """
        line = encoded(messages.Log(time=0, level=0, message="x" * 100)) * 100
        for _ in range(8):
            threading.Thread(target=lambda: [write_all(line) for _ in range(100)], daemon=True).start()
        time.sleep(1)
    """,
    "forks that are refused": """
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                os.fork()
            except OSError:
                pass
    """,
}


@pytest.mark.parametrize("source", FLOODS.values(), ids=FLOODS)
async def test_others_are_answered_meanwhile(stages: Stages, source: str) -> None:
    stage = await stages.without()
    runtime = stage.runtime
    before = await stage.seconds_to_answer()
    attack = Attack(name="flood", source=source, module=RAW, held_by=[])
    folder = attack.write(stages.new_folder(attack))
    instance = await runtime.run(folder)
    flood = await runtime.queue(instance, "attack", {})
    slowest = 0.0
    while (await runtime.execution(flood)).status in PENDING:
        slowest = max(slowest, await stage.seconds_to_answer())
    assert slowest <= max(A_SECOND, _SLOWEST * before)
