"""What the tests of answers are told in: an author's attempt that asks the host for things, on a real database."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from ropewalk.answers import plot
from ropewalk.answers.interface import AnswerLimits, Host, Session
from ropewalk.answers.throttle import Throttle
from ropewalk.egress.fetch import Fetcher
from ropewalk.storage.pace import Pace
from ropewalk.vault.masters import Masters, new_text
from ropewalk.vault.vault import Vault
from ropewalk.wire.control import Manifest, ToolInfo
from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivitiesList,
    ActivityDelete,
    ActivityGet,
    ActivityRecord,
    ActivityUpdate,
    NewActivityRecord,
    NoteRecord,
    NotesCreate,
    NotesList,
    NoteUpdate,
    Page,
)
from tests.storage.scene import Scene

MANIFEST = Manifest(
    protocol=1,
    python="3.11",
    cls="Syncer",
    description="",
    methods=[],
    tools=[ToolInfo(ns="plot", kind="Plot"), ToolInfo(ns="web", kind="Network")],
)


def new(title: str = "t", *, notes: list[NoteRecord] | None = None, start_now: bool = False, **fields: Any) -> NewActivityRecord:
    """Return what asks for an activity; with `id` it is the author's own."""
    given: dict[str, Any] = {"id": str(uuid4()), "type": "action", "title": title}
    return NewActivityRecord(
        activity=ActivityRecord(**given | fields), notes=notes or [], start_now=start_now, own_id="id" in fields
    )


def note(content: str = "n", **fields: Any) -> NoteRecord:
    """Return what asks for a note."""
    given: dict[str, Any] = {"id": str(uuid4()), "content": content}
    return NoteRecord(**given | fields)


class Author:
    """One attempt of an instance, and short words for its calls. `ns` is the tool that it speaks through."""

    def __init__(self, scene: Scene, session: Session) -> None:
        self.scene = scene
        self.session = session
        self.ns = "plot"

    @classmethod
    async def begin(cls, scene: Scene, instance: str, limits: AnswerLimits | None = None) -> Author:
        """Start an attempt of an active instance."""
        await scene.enqueue(instance)
        host = Host(
            storage=scene.storage,
            clock=scene.clock,
            fetcher=Fetcher(),
            egress=Throttle(Pace(burst=1_000, rate=10), scene.clock),
            limits=limits or AnswerLimits(),
            vault=Vault(scene.storage, Masters((new_text(),), Path("nowhere"))),
        )
        return cls(scene, Session(host, await scene.claim(instance), MANIFEST))

    async def commit(self) -> None:
        """Make everything so far durable, as `commit()` does."""
        await self.scene.commit(self.session.claim, *self.session.effects)
        self.session.committed()

    async def finish(self) -> None:
        """Settle the attempt."""
        await self.scene.succeed(self.session.claim, *self.session.effects)

    async def create(self, *items: NewActivityRecord) -> list[ActivityRecord]:
        return await plot.activities_create(self.session, ActivitiesCreate(id=1, ns=self.ns, items=list(items)))

    async def update(self, activity: str, **changes: Any) -> ActivityRecord:
        text = msgspec.json.encode(changes)
        return await plot.activity_update(self.session, ActivityUpdate(id=1, ns=self.ns, activity=activity, changes=text))

    async def delete(self, activity: str) -> None:
        await plot.activity_delete(self.session, ActivityDelete(id=1, ns=self.ns, activity=activity))

    async def get(self, activity: str) -> ActivityRecord | None:
        return await plot.activity_get(self.session, ActivityGet(id=1, ns=self.ns, activity=activity))

    async def by_source(self, source: str) -> ActivityRecord | None:
        return await plot.activity_get(self.session, ActivityGet(id=1, ns=self.ns, source=source))

    async def by_meta(self, key: str, value: Any) -> ActivityRecord | None:
        return await plot.activity_get(self.session, ActivityGet(id=1, ns=self.ns, meta=(key, msgspec.json.encode(value))))

    async def page(self, **query: Any) -> Page:
        return await plot.activities_list(self.session, ActivitiesList(id=1, ns=self.ns, **query))

    async def titles(self, **query: Any) -> list[str]:
        return [activity.title for activity in (await self.page(**query)).items]

    async def add_notes(self, activity: str, *notes: NoteRecord) -> list[NoteRecord]:
        return await plot.notes_create(self.session, NotesCreate(id=1, ns=self.ns, activity=activity, notes=list(notes)))

    async def update_note(self, note: str, **changes: Any) -> NoteRecord:
        text = msgspec.json.encode(changes)
        return await plot.note_update(self.session, NoteUpdate(id=1, ns=self.ns, note=note, changes=text))

    async def notes(self, activity: str) -> list[NoteRecord]:
        return await plot.notes_list(self.session, NotesList(id=1, ns=self.ns, activity=activity))

    async def contents(self, activity: str) -> list[str]:
        return [note.content for note in await self.notes(activity)]
