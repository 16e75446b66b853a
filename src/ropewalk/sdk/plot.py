"""The Plot tool: activities and notes in the workspace."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, ClassVar, Unpack, cast
from uuid import UUID

from ropewalk.sdk.checks import check_batch, micros
from ropewalk.sdk.records import (
    Activity,
    ActivityChanges,
    ActivityRef,
    ActivityType,
    Link,
    NewActivity,
    NewNote,
    Note,
    NoteChanges,
    NoteRef,
    Page,
    activity_changes_json,
    activity_of,
    id_of,
    is_a,
    link_record,
    new_activity_record,
    new_note_record,
    note_changes_json,
    note_of,
    type_of,
)
from ropewalk.sdk.tool import BuiltIn
from ropewalk.sdk.unit import Unit
from ropewalk.sdk.values import encode
from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivitiesList,
    ActivityDelete,
    ActivityGet,
    ActivityRecord,
    ActivityUpdate,
    LinkRecord,
    NoteRecord,
    NotesCreate,
    NotesList,
    NoteUpdate,
    Page as PageRecord,
)


class Plot(BuiltIn):
    """Activities and notes, for people to see. What is written is there when the execution commits.

    Args:
        activity_access: what it asks to do with activities; shown to whoever activates the twist.
        priority_access: the same for priorities.
        contact_access: the same for contacts.
    """

    kind: ClassVar[str] = "Plot"

    def __init__(
        self, *, activity_access: str | None = None, priority_access: str | None = None, contact_access: str | None = None
    ) -> None:
        self.access = {
            name: access
            for name, access in (
                ("activity_access", activity_access),
                ("priority_access", priority_access),
                ("contact_access", contact_access),
            )
            if access is not None
        }

    def declared(self) -> dict[str, Any]:
        """Return the accesses asked for."""
        return self.access

    # ── Activities ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_activity(self, activity: NewActivity) -> Activity:
        """Create an activity with its notes, or update the one whose `source` is in its priority already."""
        return (await self.create_activities([activity]))[0]

    async def create_activities(self, activities: Iterable[NewActivity]) -> list[Activity]:
        """Create several activities, at most 1,000, in one request; returned in the same order."""
        bound = self._ropewalk
        host = bound.running.host
        given = [is_a(NewActivity, new) for new in activities]
        check_batch(len(given), "activities")
        items = [new_activity_record(new, await self._note_records(new.notes)) for new in given]
        if not items:
            return []
        records: list[ActivityRecord] = await host.call(ActivitiesCreate(id=host.next_id(), ns=bound.ns, items=items))
        return [activity_of(record) for record in records]

    async def update_activity(self, ref: ActivityRef, /, **changes: Unpack[ActivityChanges]) -> Activity:
        """Change the named fields of an activity and return it as it is then. Raises NotFound."""
        bound = self._ropewalk
        host = bound.running.host
        text = activity_changes_json(changes)
        return activity_of(await host.call(ActivityUpdate(id=host.next_id(), ns=bound.ns, activity=id_of(ref), changes=text)))

    async def delete_activity(self, ref: ActivityRef, /) -> None:
        """Remove an activity and its notes. Raises NotFound."""
        bound = self._ropewalk
        host = bound.running.host
        await host.call(ActivityDelete(id=host.next_id(), ns=bound.ns, activity=id_of(ref)))

    async def get_activity(self, id: UUID | str) -> Activity | None:  # noqa: A002 — the contract's name
        """Return an activity by its id, None when it is not there."""
        return await self._get(activity=id_of(id))

    async def get_activity_by_source(self, source: str) -> Activity | None:
        """Return an activity by its `source`, None when there is none."""
        return await self._get(source=source)

    async def get_activity_by_meta(self, key: str, value: object) -> Activity | None:
        """Return an activity whose `meta` has this value under this key, None when there is none."""
        return await self._get(meta=(key, encode(value, "the value of", key)))

    async def list_activities(
        self,
        *,
        type: ActivityType | str | None = None,  # noqa: A002 — the contract's name
        done: bool | None = None,
        source_prefix: str | None = None,
        updated_since: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Activity]:
        """Return activities, newest first, a page at a time; `cursor` is that of the page before."""
        bound = self._ropewalk
        host = bound.running.host
        message = ActivitiesList(
            id=host.next_id(),
            ns=bound.ns,
            type=None if type is None else type_of(type).value,
            done=done,
            source_prefix=source_prefix,
            updated_since=None if updated_since is None else micros(updated_since, "updated_since"),
            limit=limit,
            cursor=cursor,
        )
        page: PageRecord = await host.call(message)
        return Page(items=[activity_of(record) for record in page.items], cursor=page.cursor)

    # ── Notes ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def create_note(self, ref: ActivityRef, note: NewNote) -> Note:
        """Add a note to an activity, or update the one whose `key` it has already. Raises NotFound."""
        return (await self.create_notes(ref, [note]))[0]

    async def create_notes(self, ref: ActivityRef, notes: Iterable[NewNote]) -> list[Note]:
        """Add several notes, at most 1,000, in one request; returned in the same order. Raises NotFound."""
        bound = self._ropewalk
        host = bound.running.host
        given = list(notes)
        check_batch(len(given), "notes")
        records = await self._note_records(given)
        if not records:
            return []
        message = NotesCreate(id=host.next_id(), ns=bound.ns, activity=id_of(ref), notes=records)
        return await self._notes(await host.call(message), ref)

    async def update_note(self, ref: NoteRef, /, **changes: Unpack[NoteChanges]) -> Note:
        """Change the named fields of a note and return it as it is then. Raises NotFound."""
        bound = self._ropewalk
        host = bound.running.host
        links = await self._link_records(changes["links"]) if "links" in changes else None
        text = note_changes_json(changes, links)
        record: NoteRecord = await host.call(NoteUpdate(id=host.next_id(), ns=bound.ns, note=id_of(ref), changes=text))
        known = ref.activity if isinstance(ref, Note) else record.activity
        return (await self._notes([record], known))[0]

    async def get_notes(self, ref: ActivityRef) -> list[Note]:
        """Return the notes of an activity, oldest first. Raises NotFound."""
        bound = self._ropewalk
        host = bound.running.host
        message = NotesList(id=host.next_id(), ns=bound.ns, activity=id_of(ref))
        return await self._notes(await host.call(message), ref)

    # ── Between records and the wire ─────────────────────────────────────────────────────────────────────────────────────────

    async def _get(self, **by: Any) -> Activity | None:
        bound = self._ropewalk
        host = bound.running.host
        record: ActivityRecord | None = await host.call(ActivityGet(id=host.next_id(), ns=bound.ns, **by))
        return None if record is None else activity_of(record)

    async def _notes(self, records: list[NoteRecord], activity: ActivityRef) -> list[Note]:
        """Return notes with their activity: the one at hand, or else the one that came with the answer."""
        if not records:
            return []
        if not isinstance(activity, Activity):
            about = next((record.about for record in records if record.about is not None), None)
            found = await self.get_activity(records[0].activity) if about is None else activity_of(about)
            activity = cast("Activity", found)
        return [note_of(record, activity) for record in records]

    async def _note_records(self, notes: Sequence[NewNote]) -> list[NoteRecord]:
        return [new_note_record(note, await self._link_records(note.links)) for note in (is_a(NewNote, note) for note in notes)]

    async def _link_records(self, links: Sequence[Link]) -> list[LinkRecord]:
        return [link_record(link, await self._token(link)) for link in (is_a(Link, link) for link in links)]

    async def _token(self, link: Link) -> str | None:
        """Return the callback's token of a link, made now in the name of whoever declared this tool."""
        if link.run is None:
            return link.token
        bound = self._ropewalk
        owner: Unit = bound.running.units[bound.ns.rpartition(".")[0]]
        return await owner.callback(link.run, *link.arguments)
