"""Reading one's own writes is reading what a commit would have stored: the same random work, committed at every step, now and then, and never."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ropewalk.errors import RopewalkError
from ropewalk.storage.sqlite import open_sqlite
from ropewalk.wire.messages import ActivityRecord, NoteRecord
from tests.answers.authors import Author, new, note
from tests.storage.scene import Scene, StillClock

SOURCES = ["s:1", "s:2", "t:1", None]
KEYS = ["k", "l", None]
STEPS = 40


class Worker:
    """Does random work as a generator of its own says, so that two with the same seed do the same."""

    def __init__(self, author: Author, seed: int, *, commits: float) -> None:
        self.author = author
        self.choices = random.Random(seed)
        self.commits = commits
        self.whether = random.Random(seed)
        self.names: list[str] = []
        self.noted: list[str] = []

    async def step(self) -> list[object]:
        """Do one thing, and return what came of it and what is there then."""
        act = self.choices.choice([self.create, self.create, self.update, self.delete, self.add_note, self.change_note])
        self.author.scene.clock.move(self.choices.choice([0, 0, 1, -1]))
        try:
            outcome: object = await act()
        except RopewalkError as error:
            outcome = type(error).__name__
        if self.whether.random() < self.commits:
            await self.author.commit()
        return [outcome, *await self.seen()]

    async def seen(self) -> list[object]:
        """Return everything that the twist can see, without what differs by chance."""
        whole = await self.author.page(limit=1000)
        done = await self.author.titles(done=True, source_prefix="s:", limit=3)
        sources = [plain(await self.author.by_source(source)) for source in SOURCES if source is not None]
        notes = [[plain(each) for each in await self.author.notes(activity.id)] for activity in whole.items]
        meta = plain(await self.author.by_meta("n", 1))
        return [[plain(activity) for activity in whole.items], done, sources, notes, meta]

    def identity(self) -> str:
        """Return an id that the same choices give again."""
        return f"{self.choices.getrandbits(32):08x}-0000-4000-8000-000000000000"

    def known(self) -> str:
        """Return an id that was used, if there is one."""
        return self.choices.choice(self.names) if self.names else self.identity()

    def fields(self) -> dict[str, Any]:
        """Return some fields."""
        return {
            "source": self.choices.choice(SOURCES),
            "meta": self.choices.choice([None, b'{"n":1}', b'{"n":2}']),
            "tags": self.choices.choice([[], ["a"], ["b", "c"]]),
            "done_at": self.choices.choice([None, 5]),
        }

    def notes(self) -> list[NoteRecord]:
        """Return some notes."""
        count = self.choices.choice([0, 1, 2])
        return [note(self.choices.choice("xyz"), id=self.identity(), key=self.choices.choice(KEYS)) for _ in range(count)]

    async def create(self) -> object:
        items = [
            new(
                self.choices.choice("abc"),
                id=self.choices.choice([self.identity(), self.known()]),
                notes=self.notes(),
                **self.fields(),
            )
            for _ in range(self.choices.choice([1, 2, 3]))
        ]
        made = await self.author.create(*items)
        self.names += [activity.id for activity in made]
        return [plain(activity) for activity in made]

    async def update(self) -> object:
        changes = self.fields()
        meta = changes.pop("meta")
        changes = {name: changes[name] for name in self.choices.sample(sorted(changes), 2)}
        return plain(await self.author.update(self.known(), meta={"n": 1} if meta else None, **changes))

    async def delete(self) -> object:
        chosen = self.known()
        if chosen in self.names and self.choices.random() < 0.8:
            self.names.remove(chosen)
        await self.author.delete(chosen)
        return None

    async def add_note(self) -> object:
        return [plain(each) for each in await self.author.add_notes(self.known(), *self.notes())]

    async def change_note(self) -> object:
        notes = await self.author.notes(self.known())
        self.noted += [note.id for note in notes]
        if not self.noted:
            return None
        chosen = self.choices.choice(self.noted)  # whatever has become of it
        return plain(await self.author.update_note(chosen, content=self.choices.choice("uvw"), key=self.choices.choice(KEYS)))


def plain(record: ActivityRecord | NoteRecord | None) -> object:
    """Return a record as text, by which two of different databases can be compared."""
    return repr(record)


async def worker(folder: Path, seed: int, *, commits: float) -> Worker:
    """Return a worker on a database of its own."""
    clock = StillClock()
    scene = Scene(await open_sqlite(folder / f"{commits}.db", clock=clock, create=True), clock)
    await scene.prepare()
    await scene.active("i1")
    return Worker(await Author.begin(scene, "i1"), seed, commits=commits)


@pytest.mark.parametrize("seed", range(24))
async def test_overlay_is_what_a_commit_would_store(tmp_path: Path, seed: int) -> None:
    workers = [await worker(tmp_path, seed, commits=share) for share in (0.0, 0.3, 1.0)]
    root = {each.author.scene.priority: "root" for each in workers}
    for _ in range(STEPS):
        never, sometimes, always = [renamed(await each.step(), root) for each in workers]
        assert never == sometimes == always
    for each in workers:
        await each.author.commit()
    never, sometimes, always = [renamed(await each.seen(), root) for each in workers]
    assert never == sometimes == always
    for each in workers:
        await each.author.scene.storage.close()


def renamed(seen: list[object], names: dict[str, str]) -> str:
    """Return what was seen as text, with ids that differ by chance replaced."""
    text = repr(seen)
    for old, fresh in names.items():
        text = text.replace(old, fresh)
    return text
