"""What an attempt has done to activities and notes so far: its reads see it, though nothing is stored before it settles.

An overlay holds whole records as the attempt left them (None: removed), so that a read asks it first and storage after. A batch works
on a layer of its own above the attempt's overlay, which takes it in when everything went well: a call changes everything or nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from ropewalk.storage.records import OwnedActivity
from ropewalk.wire.messages import ActivityRecord, NoteRecord


class Overlay:
    """Activities and notes that the attempt made, changed or removed.

    Attributes:
        reach: the instance's priority and all below it, once they were asked for.
    """

    __slots__ = ("_activities", "_base", "_keys", "_made", "_notes", "_shadowed", "_sources", "reach")

    def __init__(self, base: Overlay | None = None) -> None:
        self._base = base
        self._activities: dict[str, OwnedActivity | None] = {}
        self._made: set[str] = set()
        self._shadowed: set[str] = set()
        self._sources: dict[tuple[str, str], str] = {}
        self._notes: dict[str, NoteRecord] = {}
        self._keys: dict[tuple[str, str], str] = {}
        self.reach: tuple[str, ...] | None = base.reach if base is not None else None

    # Activities

    def touched(self, activity: str) -> bool:
        """Whether the attempt made, changed or removed it, so that what storage says of it no longer holds."""
        return activity in self._activities or (self._base is not None and self._base.touched(activity))

    def made(self, activity: str) -> bool:
        """Whether the attempt made it, so that storage knows nothing of it."""
        return activity in self._made or (self._base is not None and self._base.made(activity))

    def activity(self, activity: str) -> OwnedActivity | None:
        """Return a touched activity as it is now; None when it was removed, or never touched."""
        if activity in self._activities:
            return self._activities[activity]
        return self._base.activity(activity) if self._base is not None else None

    def current(self, stored: OwnedActivity | None) -> OwnedActivity | None:
        """Return a stored activity as the attempt sees it."""
        if stored is None or not self.touched(stored.activity.id):
            return stored
        return self.activity(stored.activity.id)

    def by_source(self, priority: str, source: str) -> OwnedActivity | None:
        """Return the touched activity that has this source in this priority."""
        held = self._sources.get((priority, source))
        if held is not None and (owned := self.activity(held)) is not None and _is_at(owned.activity, priority, source):
            return owned
        return self._base_by_source(priority, source)

    def _base_by_source(self, priority: str, source: str) -> OwnedActivity | None:
        below = self._base.by_source(priority, source) if self._base is not None else None
        current = self.current(below)
        return current if current is not None and _is_at(current.activity, priority, source) else None

    def put_activity(self, owned: OwnedActivity) -> None:
        """Note that the attempt made this activity."""
        self._made.add(owned.activity.id)
        self._place(owned)

    def change_activity(self, owned: OwnedActivity, changes: dict[str, object]) -> OwnedActivity:
        """Note that the attempt changed these fields of an activity, and return it as it is then."""
        changed = replace(owned, activity=replace(owned.activity, **changes))
        if not self.made(owned.activity.id):
            self._shadowed.add(owned.activity.id)
        self._place(changed)
        return changed

    def drop_activity(self, activity: str) -> None:
        """Note that the attempt removed an activity, with its notes."""
        if not self.made(activity):
            self._shadowed.add(activity)
        self._activities[activity] = None
        self._notes = {kept: note for kept, note in self._notes.items() if note.activity != activity}

    def activities(self) -> Iterator[OwnedActivity]:
        """Every activity that the attempt made or changed and that is still there."""
        return (owned for owned in self._activities.values() if owned is not None)

    def shadows(self) -> int:
        """How many stored activities were changed or removed."""
        return len(self._shadowed)

    def _place(self, owned: OwnedActivity) -> None:
        activity = owned.activity
        self._activities[activity.id] = owned
        if activity.source is not None:
            self._sources[activity.priority, activity.source] = activity.id

    # Notes

    def note(self, note: str) -> NoteRecord | None:
        """Return a note that the attempt made or changed."""
        found = self._notes.get(note)
        if found is None and self._base is not None:
            return self._base.note(note)
        return found

    def hides(self, stored: NoteRecord) -> bool:
        """Whether a stored note is gone, with its activity: that was removed, and may have been made again since."""
        activity = stored.activity
        return self.made(activity) or (self.touched(activity) and self.activity(activity) is None)

    def note_by_key(self, activity: str, key: str) -> NoteRecord | None:
        """Return the note that the attempt made or changed and that has this key in this activity."""
        held = self._keys.get((activity, key))
        if held is None:
            below = self._base.note_by_key(activity, key) if self._base is not None else None
            found = (self.note(below.id) or below) if below is not None else None
        else:
            found = self.note(held)
        return found if found is not None and found.key == key else None

    def put_note(self, note: NoteRecord) -> None:
        """Note that the attempt made this note, or left it so."""
        self._notes[note.id] = note
        if note.key is not None:
            self._keys[note.activity, note.key] = note.id

    def notes(self, activity: str) -> list[NoteRecord]:
        """The notes of an activity that the attempt made or changed."""
        return [note for note in self._notes.values() if note.activity == activity]

    # Layers

    def layer(self) -> Overlay:
        """Return an empty overlay above this one, for one call."""
        return Overlay(self)

    def take_in(self, layer: Overlay) -> None:
        """Keep everything that was done on the layer."""
        self._activities.update(layer._activities)
        self._made |= layer._made
        self._shadowed |= layer._shadowed
        self._sources.update(layer._sources)
        self._notes.update(layer._notes)
        self._keys.update(layer._keys)


def _is_at(activity: ActivityRecord, priority: str, source: str) -> bool:
    return activity.priority == priority and activity.source == source
