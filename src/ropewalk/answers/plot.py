"""The host's answers about activities and notes.

What a twist may see is decided in `finding`, what a call creates is put together in `batch`. What an attempt did shows in its reads
through `workspace.overlay`; a call changes everything it asks for or nothing. Nothing here waits but for storage, and a batch asks it a
fixed number of questions, whatever its size.
"""

from __future__ import annotations

from msgspec.structs import replace

from ropewalk.answers import finding
from ropewalk.answers.batch import Batch
from ropewalk.answers.interface import Session, check_batch, check_json
from ropewalk.errors import InvalidValue, ValueTooLarge
from ropewalk.storage.records import (
    ActivityQuery,
    ChangeActivity,
    ChangeNote,
    DropActivity,
    OwnedActivity,
)
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
from ropewalk.workspace import fields, forms, listing, updates
from ropewalk.workspace.overlay import Overlay

# ── Activities ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def activities_create(session: Session, call: ActivitiesCreate) -> list[ActivityRecord]:
    """Create activities with their notes; one whose source is in its priority already updates what is there."""
    finding.require_plot(session, call.ns)
    check_batch(len(call.items), session.host.limits.batch, "activities")
    batch = Batch(session)
    home = session.claim.instance.priority
    wanted = [forms.new_activity(new, home, session.stamp()) for new in call.items]
    notes = [[forms.new_note(note) for note in new.notes] for new in call.items]
    await finding.check_priorities(session, {activity.priority for activity in wanted})
    await batch.look_up_activities(wanted, [a.id for a, new in zip(wanted, call.items, strict=True) if new.own_id])
    holders = [batch.holder(activity) for activity in wanted]
    await batch.look_up_notes(
        [note for some in notes for note in some], [held.activity.id for held in holders if held is not None]
    )
    made: list[ActivityRecord] = []
    for new, activity, some in zip(call.items, wanted, notes, strict=True):
        made.append(batch.put_activity(activity, start_given=_is_start_given(new)))
        batch.put_notes(made[-1].id, some)
    batch.keep()
    return made


async def activity_update(session: Session, call: ActivityUpdate) -> ActivityRecord:
    """Change the named fields of one activity."""
    finding.require_plot(session, call.ns)
    owned = await finding.require_activity(session, call.activity)
    changes = updates.differing(owned.activity, forms.activity_changes(call.changes))
    if not changes:
        return owned.activity
    after = replace(owned.activity, **changes)
    fields.check_span(after.start, after.end)
    await finding.check_priorities(session, {after.priority})
    if "source" in changes or "priority" in changes:
        await finding.check_source_is_free(session, after)
    changes["updated_at"] = session.host.clock.now()
    session.add(ChangeActivity(activity=after.id, changes=changes), forms.changes_size(changes))
    return session.overlay(Overlay).change_activity(owned, changes).activity


async def activity_delete(session: Session, call: ActivityDelete) -> None:
    """Remove an activity and its notes."""
    finding.require_plot(session, call.ns)
    owned = await finding.require_activity(session, call.activity)
    session.add(DropActivity(activity=owned.activity.id))
    session.overlay(Overlay).drop_activity(owned.activity.id)


async def activity_get(session: Session, call: ActivityGet) -> ActivityRecord | None:
    """One activity by its id, source or an entry of its meta; None when there is none that the twist may see."""
    finding.require_plot(session, call.ns)
    if [call.activity, call.source, call.meta].count(None) != 2:
        raise InvalidValue("an activity is asked for by exactly one of its id, its source, or an entry of its meta")
    if call.activity is not None:
        owned = await finding.find_activity(session, call.activity)
    elif call.source is not None:
        owned = await finding.find_by_source(session, call.source)
    else:
        assert call.meta is not None
        check_json(call.meta[1], "the value of the meta entry")
        return next(iter(await finding.newest(session, ActivityQuery(meta=call.meta, limit=1))), None)
    return owned.activity if owned is not None else None


async def activities_list(session: Session, call: ActivitiesList) -> Page:
    """A page of the activities that the twist made, newest first."""
    finding.require_plot(session, call.ns)
    limit = session.host.limits.listing
    if not 1 <= call.limit <= limit:
        raise ValueTooLarge(f"a page of {call.limit:,} activities is not between 1 and {limit:,}: ask for pages, with `cursor`")
    query = ActivityQuery(
        type=call.type,
        done=call.done,
        source_prefix=fields.source(call.source_prefix or None),
        updated_since=fields.instant(call.updated_since, "updated_since"),
        after=listing.place_of(call.cursor) if call.cursor is not None else None,
        limit=call.limit,
    )
    return listing.page(await finding.newest(session, query), call.limit, forms.activity_size)


def _is_start_given(new: NewActivityRecord) -> bool:
    """Whether the author said when it starts: None says so only of an action."""
    return not new.start_now and (new.activity.type == "action" or new.activity.start is not None)


# ── Notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def notes_create(session: Session, call: NotesCreate) -> list[NoteRecord]:
    """Add notes to an activity; one whose key it has already updates what is there."""
    finding.require_plot(session, call.ns)
    check_batch(len(call.notes), session.host.limits.batch, "notes")
    notes = [forms.new_note(note) for note in call.notes]
    owned = await finding.require_activity(session, call.activity)
    batch = Batch(session)
    await batch.look_up_notes(notes, [owned.activity.id])
    made = batch.put_notes(owned.activity.id, notes)
    batch.keep()
    return _about(owned, made)


async def note_update(session: Session, call: NoteUpdate) -> NoteRecord:
    """Change the named fields of one note."""
    finding.require_plot(session, call.ns)
    note, owned = await finding.require_note(session, fields.identifier(call.note, "a note"))
    changes = updates.differing(note, forms.note_changes(call.changes))
    if not changes:
        return replace(note, about=owned.activity)
    after = replace(note, **changes)
    if "key" in changes and after.key is not None:
        batch = Batch(session)
        await batch.look_up_notes([after], [after.activity])
        if batch.note_holder(after) is not None:
            raise InvalidValue(f"the key {after.key!r} is another note's of this activity")
    session.add(ChangeNote(note=after.id, changes=changes), forms.changes_size(changes))
    session.overlay(Overlay).put_note(after)
    return replace(after, about=owned.activity)


async def notes_list(session: Session, call: NotesList) -> list[NoteRecord]:
    """The notes of an activity, oldest first."""
    finding.require_plot(session, call.ns)
    owned = await finding.require_activity(session, call.activity)
    return _about(owned, await finding.notes(session, owned.activity.id))


def _about(owned: OwnedActivity, notes: list[NoteRecord]) -> list[NoteRecord]:
    """Return the notes of an activity, the first of which brings it along."""
    return [replace(notes[0], about=owned.activity), *notes[1:]] if notes else []
