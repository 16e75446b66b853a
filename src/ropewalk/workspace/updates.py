"""What changes when an activity's source, or a note's key, is there already: the new one updates the old one.

What the author gave replaces what is there; what was left out (a field at its default) stays, so that syncing again does not undo what
people did meanwhile. A `start` of None on an action was given: "someday". What is equal is no change, and a sync of nothing new writes
nothing.
"""

from __future__ import annotations

from typing import Final

from ropewalk.wire.messages import ActivityRecord, NoteRecord

_ACTIVITY_FIELDS: Final = ("end", "done_at", "source", "meta", "tags", "assignee", "author", "unread", "private", "draft")
_NOTE_FIELDS: Final = ("links", "mentions", "tags")


def activity_update(old: ActivityRecord, new: ActivityRecord, *, start_given: bool) -> dict[str, object]:
    """Return the fields of `old` that the same activity, sent again as `new`, changes."""
    wanted: dict[str, object] = {"type": new.type, "title": new.title}
    if start_given:
        wanted["start"] = new.start
    wanted.update((name, value) for name in _ACTIVITY_FIELDS if (value := getattr(new, name)))
    return differing(old, wanted)


def note_update(old: NoteRecord, new: NoteRecord) -> dict[str, object]:
    """Return the fields of `old` that the same note, sent again as `new`, changes."""
    wanted: dict[str, object] = {"content": new.content, "content_type": new.content_type}
    wanted.update((name, value) for name in _NOTE_FIELDS if (value := getattr(new, name)))
    return differing(old, wanted)


def differing(old: ActivityRecord | NoteRecord, wanted: dict[str, object]) -> dict[str, object]:
    """Return those of the fields that are not so already."""
    return {name: value for name, value in wanted.items() if getattr(old, name) != value}
