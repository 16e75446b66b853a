"""Replays in the test's own process: the production path, but for the command line."""

from __future__ import annotations

import textwrap
from collections import deque
from pathlib import Path

from ropewalk.replay.rerun import Person, Replayed, replay
from ropewalk.service.replaying import image_of, image_of_code, recorded
from ropewalk.storage.records import Execution
from ropewalk.wire.messages import Log
from tests.harness.runtime import Runtime


class Played:
    """What a replay showed, and the log lines that it wrote."""

    def __init__(self, shown: Replayed, logs: list[str]) -> None:
        self.shown = shown
        self.logs = logs

    @property
    def told(self) -> str:
        """What a test that failed says of it."""
        return f"{self.shown.difference} {self.shown.end} {self.shown.notes}"


async def play(
    runtime: Runtime, execution: Execution, *, code: Path | None = None, attempt: int | None = None, person: Person | None = None
) -> Played:
    """Replay an attempt, on its own code or on that at a path."""
    found = await recorded(runtime.service, execution, attempt)
    source = await runtime.service.sandbox(found.script.record.hash_seed)
    service = runtime.service
    image = await (image_of(service, found) if code is None else image_of_code(service, found, code, lambda _: None))
    lines: list[Log] = []
    shown = await replay(source, image, found.script, on_log=lines.append, person=person)
    return Played(shown, [line.message for line in lines])


def written(folder: Path, source: str) -> Path:
    """Write a module and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "twist.py"
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    return path


class Typist:
    """A person who types these lines, one at each prompt, and then has no more; what was shown is kept."""

    def __init__(self, *lines: str) -> None:
        self._lines = deque(lines)
        self.screen = ""

    def tell(self, text: str) -> None:
        """See text."""
        self.screen += text

    async def ask(self, prompt: str) -> str:
        """Type the next line."""
        line = f"{self._lines.popleft()}\n" if self._lines else ""
        self.screen += prompt + line
        return line
