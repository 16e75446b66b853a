"""The host's answers about activities and notes.

An activity belongs to the twist that made it, in its priority: instances of other twists neither see nor change it, nor does one reach
beyond its own priority and those below it. What an attempt did shows in its reads through `workspace.overlay`; a call changes everything
it asks for or nothing. Nothing here waits but for storage, and a batch asks it a fixed number of questions, whatever its size.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ropewalk.answers.interface import Session, check_batch, check_json
from ropewalk.errors import InvalidValue, NotFound, PermissionDenied, ValueTooLarge
from ropewalk.storage.records import (
    ActivityQuery,
    AnyEffect,
    ChangeActivity,
    ChangeNote,
    DropActivity,
    OwnedActivity,
    PutActivity,
    PutNote,
)
from ropewalk.wire.messages import (
    ActivitiesCreate,
    ActivitiesList,
    ActivityDelete,
    ActivityGet,
    ActivityRecord,
    ActivityUpdate,
    Json,
    NewActivityRecord,
    NoteRecord,
    NotesCreate,
    NotesList,
    NoteUpdate,
    Page,
)
from ropewalk.workspace import fields, forms, listing, updates
from ropewalk.workspace.overlay import Overlay

_STEP = 250
_deterministic = msgspec.json.Encoder(order="deterministic").encode

# ── Activities ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def activities_create(session: Session, call: ActivitiesCreate) -> list[ActivityRecord]:
    """Create activities with their notes; one whose source is in its priority already updates what is there."""
    _require_plot(session, call.ns)
    check_batch(len(call.items), session.host.limits.batch, "activities")
    batch = _Batch(session)
    home = session.claim.instance.priority
    wanted = [forms.new_activity(new, home, session.stamp()) for new in call.items]
    notes = [[forms.new_note(note) for note in new.notes] for new in call.items]
    await _check_priorities(session, {activity.priority for activity in wanted})
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
    _require_plot(session, call.ns)
    owned = await _require_activity(session, call.activity)
    changes = updates.differing(owned.activity, forms.activity_changes(call.changes))
    if not changes:
        return owned.activity
    after = replace(owned.activity, **changes)
    fields.check_span(after.start, after.end)
    await _check_priorities(session, {after.priority})
    if "source" in changes or "priority" in changes:
        await _check_source_is_free(session, after)
    changes["updated_at"] = session.host.clock.now()
    session.add(ChangeActivity(activity=after.id, changes=changes), forms.changes_size(changes))
    return session.overlay(Overlay).change_activity(owned, changes).activity


async def activity_delete(session: Session, call: ActivityDelete) -> None:
    """Remove an activity and its notes."""
    _require_plot(session, call.ns)
    owned = await _require_activity(session, call.activity)
    session.add(DropActivity(activity=owned.activity.id))
    session.overlay(Overlay).drop_activity(owned.activity.id)


async def activity_get(session: Session, call: ActivityGet) -> ActivityRecord | None:
    """One activity by its id, source or an entry of its meta; None when there is none that the twist may see."""
    _require_plot(session, call.ns)
    if [call.activity, call.source, call.meta].count(None) != 2:
        raise InvalidValue("an activity is asked for by exactly one of its id, its source, or an entry of its meta")
    if call.activity is not None:
        owned = await _find_activity(session, call.activity)
    elif call.source is not None:
        owned = await _find_by_source(session, call.source)
    else:
        assert call.meta is not None
        owned = await _find_by_meta(session, *call.meta)
    return owned.activity if owned is not None else None


async def activities_list(session: Session, call: ActivitiesList) -> Page:
    """A page of the activities that the twist made, newest first."""
    _require_plot(session, call.ns)
    limit = session.host.limits.listing
    if not 1 <= call.limit <= limit:
        raise ValueTooLarge(f"a page of {call.limit:,} activities is not between 1 and {limit:,}: ask for pages, with `cursor`")
    overlay = session.overlay(Overlay)
    reach = await _reach(session)
    query = ActivityQuery(
        priority=reach[0] if len(reach) == 1 else None,
        priorities=reach if len(reach) > 1 else None,
        twist=session.claim.instance.twist,
        type=call.type,
        done=call.done,
        source_prefix=fields.source(call.source_prefix or None),
        updated_since=fields.instant(call.updated_since, "updated_since"),
        after=listing.place_of(call.cursor) if call.cursor is not None else None,
        limit=call.limit + 1 + overlay.shadows(),
    )
    stored = await _stored(session, query)
    return listing.page(listing.merge(stored, overlay.activities(), query), call.limit, forms.activity_size)


async def _stored(session: Session, query: ActivityQuery) -> list[OwnedActivity]:
    """Return what storage has of a page and the attempt has not touched, read in steps, so that no more than a page's bytes are held."""
    overlay = session.overlay(Overlay)
    found: list[OwnedActivity] = []
    wanted, left, after = query.limit or 0, listing.PAGE_BYTES, query.after
    while wanted > 0 and left >= 0:
        step = min(wanted, _STEP)
        some = await session.host.storage.activities(replace(query, after=after, limit=step))
        for owned in some:
            if not overlay.touched(owned.activity.id):
                found.append(owned)
                left -= forms.activity_size(owned.activity)
        if len(some) < step:
            break
        wanted, after = wanted - step, listing.place(some[-1].activity)
    return found


def _is_start_given(new: NewActivityRecord) -> bool:
    """Whether the author said when it starts: None says so only of an action."""
    return not new.start_now and (new.activity.type == "action" or new.activity.start is not None)


# ── Notes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def notes_create(session: Session, call: NotesCreate) -> list[NoteRecord]:
    """Add notes to an activity; one whose key it has already updates what is there."""
    _require_plot(session, call.ns)
    check_batch(len(call.notes), session.host.limits.batch, "notes")
    notes = [forms.new_note(note) for note in call.notes]
    owned = await _require_activity(session, call.activity)
    batch = _Batch(session)
    await batch.look_up_notes(notes, [owned.activity.id])
    made = batch.put_notes(owned.activity.id, notes)
    batch.keep()
    return _about(owned, made)


async def note_update(session: Session, call: NoteUpdate) -> NoteRecord:
    """Change the named fields of one note."""
    _require_plot(session, call.ns)
    note, owned = await _require_note(session, fields.identifier(call.note, "a note"))
    changes = updates.differing(note, forms.note_changes(call.changes))
    if not changes:
        return replace(note, about=owned.activity)
    after = replace(note, **changes)
    if "key" in changes and after.key is not None:
        batch = _Batch(session)
        await batch.look_up_notes([after], [after.activity])
        if batch.note_holder(after) is not None:
            raise InvalidValue(f"the key {after.key!r} is another note's of this activity")
    session.add(ChangeNote(note=after.id, changes=changes), forms.changes_size(changes))
    session.overlay(Overlay).put_note(after)
    return replace(after, about=owned.activity)


async def notes_list(session: Session, call: NotesList) -> list[NoteRecord]:
    """The notes of an activity, oldest first."""
    _require_plot(session, call.ns)
    owned = await _require_activity(session, call.activity)
    activity = owned.activity.id
    overlay = session.overlay(Overlay)
    notes = {} if overlay.made(activity) else {note.id: note for note in await session.host.storage.notes(activity)}
    notes.update((note.id, note) for note in overlay.notes(activity))
    limits = session.host.limits
    size = sum(map(forms.note_size, notes.values()))
    if len(notes) > limits.listing or size > 2 * listing.PAGE_BYTES:
        raise ValueTooLarge(
            f"the activity has {len(notes):,} notes of {size:,} bytes, and a listing may have {limits.listing:,} "
            f"of {2 * listing.PAGE_BYTES:,}: spread them over several activities"
        )
    return _about(owned, sorted(notes.values(), key=lambda note: (note.created_at, note.id)))


def _about(owned: OwnedActivity, notes: list[NoteRecord]) -> list[NoteRecord]:
    """Return the notes of an activity, the first of which brings it along."""
    return [replace(notes[0], about=owned.activity), *notes[1:]] if notes else []


# ── A batch ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Known(Struct):
    """What storage said about the activities and notes of a batch."""

    by_source: dict[tuple[str, str], OwnedActivity] = {}
    by_id: dict[str, OwnedActivity] = {}
    notes_by_key: dict[tuple[str, str], NoteRecord] = {}
    notes_by_id: dict[str, NoteRecord] = {}


class _Batch:
    """What one call creates: looked up at once, put on a layer of its own, kept whole or not at all."""

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
        return stored is not None and not (self._layer.touched(stored.activity) and self._layer.activity(stored.activity) is None)

    def _update_note(self, held: NoteRecord, wanted: NoteRecord) -> NoteRecord:
        changes = updates.note_update(held, wanted)
        if not changes:
            return held
        after = replace(held, **changes)
        self._layer.put_note(after)
        self._effects.append((ChangeNote(note=held.id, changes=changes), forms.changes_size(changes)))
        return after


# ── Finding ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _require_activity(session: Session, activity: str) -> OwnedActivity:
    owned = await _find_activity(session, activity)
    if owned is None:
        raise NotFound(
            f"there is no activity {activity[:60]} that this twist may see: it was deleted, or another twist or a person made it"
        )
    return owned


async def _find_activity(session: Session, activity: str) -> OwnedActivity | None:
    activity = fields.identifier(activity, "an activity")
    overlay = session.overlay(Overlay)
    if overlay.touched(activity):
        return overlay.activity(activity)
    owned = (await session.host.storage.activities_by_id([activity])).get(activity)
    return owned if owned is not None and await _is_visible(session, owned) else None


async def _find_by_source(session: Session, source: str) -> OwnedActivity | None:
    """Look in the instance's own priority first, then in those below it."""
    source = fields.source(source) or ""
    for priority in await _reach(session):
        owned = await _holder(session, priority, source)
        if owned is not None and await _is_visible(session, owned):
            return owned
    return None


async def _find_by_meta(session: Session, key: str, value: Json) -> OwnedActivity | None:
    """Return the newest of those whose meta has this entry."""
    wanted = _deterministic(check_json(value, "the value of the meta entry"))
    overlay = session.overlay(Overlay)
    found = [owned for owned in overlay.activities() if _meta_entry(owned.activity, key) == wanted]
    stored = await session.host.storage.activities_by_meta(session.claim.instance.twist, key, wanted)
    found += [owned for owned in stored if not overlay.touched(owned.activity.id) and await _is_visible(session, owned)]
    return max(found, key=lambda owned: listing.place(owned.activity), default=None)


async def _require_note(session: Session, note: str) -> tuple[NoteRecord, OwnedActivity]:
    found = session.overlay(Overlay).note(note)
    if found is None:
        found = (await session.host.storage.notes_by_id([note])).get(note)
    owned = await _find_activity(session, found.activity) if found is not None else None
    if found is None or owned is None:
        raise NotFound(f"there is no note {note} that this twist may see: it was deleted, or is under an activity of another's")
    return found, owned


async def _holder(session: Session, priority: str, source: str) -> OwnedActivity | None:
    """Return whatever activity has this source in this priority, whoever made it."""
    overlay = session.overlay(Overlay)
    own = overlay.by_source(priority, source)
    if own is not None:
        return own
    stored = (await session.host.storage.activities_by_source(priority, [source])).get(source)
    return stored if stored is not None and not overlay.touched(stored.activity.id) else None


async def _check_source_is_free(session: Session, activity: ActivityRecord) -> None:
    if activity.source is None:
        return
    held = await _holder(session, activity.priority, activity.source)
    if held is not None and held.activity.id != activity.id:
        raise InvalidValue(f"the source {activity.source[:80]!r} is another activity's in this priority")


# ── What a twist may reach ────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_plot(session: Session, ns: str) -> None:
    tool = session.tool(ns)
    if tool is None or tool.kind != "Plot":
        raise PermissionDenied(f"the twist declares no Plot tool at {ns[:80]!r}: add one as a class attribute and deploy again")


async def _is_visible(session: Session, owned: OwnedActivity) -> bool:
    instance = session.claim.instance
    if owned.twist != instance.twist:
        return False
    return owned.activity.priority == instance.priority or owned.activity.priority in await _reach(session)


async def _check_priorities(session: Session, priorities: Collection[str]) -> None:
    if all(priority == session.claim.instance.priority for priority in priorities):
        return
    reach = await _reach(session)
    for priority in priorities:
        if priority not in reach:
            raise PermissionDenied(
                f"the priority {priority[:60]!r} is not this instance's own nor below it: activities can only be made and moved there"
            )


async def _reach(session: Session) -> tuple[str, ...]:
    """Return the instance's own priority and then all that are below it."""
    overlay = session.overlay(Overlay)
    if overlay.reach is None:
        own = session.claim.instance.priority
        reach = {own: None}
        for priority in await session.host.storage.priorities():
            if priority.parent in reach:
                reach[priority.id] = None
        overlay.reach = tuple(reach)
    return overlay.reach


def _meta_entry(activity: ActivityRecord, key: str) -> bytes | None:
    if activity.meta is None:
        return None
    meta = msgspec.json.decode(activity.meta, type=dict[str, msgspec.Raw])
    return _deterministic(msgspec.json.decode(meta[key])) if key in meta else None
