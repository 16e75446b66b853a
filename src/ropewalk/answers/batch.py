"""What one call creates: looked up at once, put on a layer of its own above the attempt's overlay, kept whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from ropewalk.answers.interface import Session
from ropewalk.errors import InvalidValue, PermissionDenied
from ropewalk.storage.records import AnyEffect, ChangeActivity, ChangeNote, OwnedActivity, PutActivity, PutNote
from ropewalk.wire.messages import ActivityRecord, NoteRecord
from ropewalk.workspace import fields, forms, updates
from ropewalk.workspace.overlay import Overlay


class _Known(Struct):
    """What storage said about the activities and notes of a batch."""

    by_source: dict[tuple[str, str], OwnedActivity] = {}
    by_id: dict[str, OwnedActivity] = {}
    notes_by_key: dict[tuple[str, str], NoteRecord] = {}
    notes_by_id: dict[str, NoteRecord] = {}


class Batch:
    """What one call creates. Ask storage first, then put, at last keep."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._overlay = session.overlay(Overlay)
        self._layer = self._overlay.layer()
        self._now = session.host.clock.now()
        self._known = _Known()
        self._effects: list[tuple[AnyEffect, int]] = []

    def keep(self) -> None:
        """Make it the attempt's. Raises ValueTooLarge, and nothing is changed, when the attempt has no room for it."""
        self._session.add_all(self._effects)
        self._overlay.take_in(self._layer)

    async def look_up_activities(self, wanted: Iterable[ActivityRecord], own_ids: list[str]) -> None:
        """Ask storage who holds the sources, and the ids that authors chose."""
        storage = self._session.host.storage
        sources: dict[str, set[str]] = {}
        for activity in wanted:
            if activity.source is not None:
                sources.setdefault(activity.priority, set()).add(activity.source)
        for priority, some in sources.items():
            found = await storage.activities_by_source(priority, list(some))
            self._known.by_source.update(((priority, source), owned) for source, owned in found.items())
        if own_ids:
            self._known.by_id = await storage.activities_by_id(own_ids)

    async def look_up_notes(self, notes: list[NoteRecord], activities: list[str]) -> None:
        """Ask storage whether the notes' ids are taken, and which of their keys the activities have already."""
        storage = self._session.host.storage
        if notes:
            self._known.notes_by_id = await storage.notes_by_id([note.id for note in notes])
        keys = {note.key for note in notes if note.key is not None}
        stored = {activity for activity in activities if not self._layer.made(activity)}
        if keys and stored:
            self._known.notes_by_key = await storage.notes_by_keys(list(stored), list(keys))

    def holder(self, wanted: ActivityRecord) -> OwnedActivity | None:
        """Return the activity that has the source of `wanted` in its priority."""
        if wanted.source is None:
            return None
        own = self._layer.by_source(wanted.priority, wanted.source)
        if own is not None:
            return own
        stored = self._layer.current(self._known.by_source.get((wanted.priority, wanted.source)))
        if stored is None or (stored.activity.source, stored.activity.priority) != (wanted.source, wanted.priority):
            return None
        return stored

    def put_activity(self, wanted: ActivityRecord, *, start_given: bool) -> ActivityRecord:
        """Create the activity, or update the one that has its source."""
        held = self.holder(wanted)
        if held is not None:
            return self._update(held, wanted, start_given=start_given)
        if self._layer.activity(wanted.id) is not None or self._layer.current(self._known.by_id.get(wanted.id)) is not None:
            raise InvalidValue(
                f"the id {wanted.id} is another activity's: leave it out, or change that one with update_activity()"
            )
        instance = self._session.claim.instance
        self._layer.put_activity(OwnedActivity(activity=wanted, twist=instance.twist, instance=instance.id))
        self._effects.append((PutActivity(activity=wanted), forms.activity_size(wanted)))
        return wanted

    def _update(self, held: OwnedActivity, wanted: ActivityRecord, *, start_given: bool) -> ActivityRecord:
        if held.twist != self._session.claim.instance.twist:
            raise PermissionDenied(
                f"the source {str(wanted.source)[:80]!r} is that of an activity in this priority which another twist or a person made: "
                "begin sources with something of your own"
            )
        changes = updates.activity_update(held.activity, wanted, start_given=start_given)
        if not changes:
            return held.activity
        changes["updated_at"] = self._now
        after = self._layer.change_activity(held, changes).activity
        fields.check_span(after.start, after.end)
        self._effects.append((ChangeActivity(activity=after.id, changes=changes), forms.changes_size(changes)))
        return after

    def note_holder(self, wanted: NoteRecord) -> NoteRecord | None:
        """Return the note that has the key of `wanted` in its activity."""
        if wanted.key is None:
            return None
        own = self._layer.note_by_key(wanted.activity, wanted.key)
        if own is not None:
            return own
        stored = self._known.notes_by_key.get((wanted.activity, wanted.key))
        return None if stored is None or self._layer.note(stored.id) is not None else stored

    def put_notes(self, activity: str, notes: Iterable[NoteRecord]) -> list[NoteRecord]:
        """Create the notes under an activity, or update those that have their keys."""
        return [self._put_note(replace(note, activity=activity, created_at=self._session.stamp())) for note in notes]

    def _put_note(self, wanted: NoteRecord) -> NoteRecord:
        held = self.note_holder(wanted)
        if held is not None:
            return self._update_note(held, wanted)
        if self._is_taken(wanted.id):
            raise InvalidValue(f"the id {wanted.id} is another note's: leave it out, or give the note a key to have it updated")
        self._layer.put_note(wanted)
        self._effects.append((PutNote(note=wanted), forms.note_size(wanted)))
        return wanted

    def _is_taken(self, note: str) -> bool:
        if self._layer.note(note) is not None:
            return True
        stored = self._known.notes_by_id.get(note)
        return stored is not None and not self._layer.hides(stored)

    def _update_note(self, held: NoteRecord, wanted: NoteRecord) -> NoteRecord:
        changes = updates.note_update(held, wanted)
        if not changes:
            return held
        after = replace(held, **changes)
        self._layer.put_note(after)
        self._effects.append((ChangeNote(note=held.id, changes=changes), forms.changes_size(changes)))
        return after
