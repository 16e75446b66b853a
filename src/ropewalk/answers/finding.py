"""What a twist may see of activities and notes, and where: every look at them goes through here.

An activity belongs to the twist that made it, in its priority. Instances of other twists neither see nor change it, and an instance
reaches its own priority and those below it. What the attempt did comes before what storage has.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from ropewalk.answers.interface import Session
from ropewalk.errors import InvalidValue, NotFound, PermissionDenied, ValueTooLarge
from ropewalk.storage.records import ActivityQuery, OwnedActivity
from ropewalk.wire.messages import ActivityRecord, NoteRecord
from ropewalk.workspace import fields, forms, listing
from ropewalk.workspace.overlay import Overlay

NOTES_BYTES: Final = 32 * 1024 * 1024
"""Most bytes of the notes of one activity, about, that are listed."""

_STEP: Final = 250
_NOTES_STEP: Final = 16


async def require_activity(session: Session, activity: str) -> OwnedActivity:
    """Return the activity with this id. Raises NotFound when the twist sees none."""
    owned = await find_activity(session, activity)
    if owned is None:
        raise NotFound(
            f"there is no activity {activity[:60]} that this twist may see: it was deleted, or another twist or a person made it"
        )
    return owned


async def find_activity(session: Session, activity: str) -> OwnedActivity | None:
    """Return the activity with this id, None when the twist sees none."""
    activity = fields.identifier(activity, "an activity")
    overlay = session.overlay(Overlay)
    if overlay.touched(activity):
        return overlay.activity(activity)
    owned = (await session.host.storage.activities_by_id([activity])).get(activity)
    return owned if owned is not None and await _is_visible(session, owned) else None


async def find_by_source(session: Session, source: str) -> OwnedActivity | None:
    """Return the activity with this source: of the instance's own priority, or else of those below it."""
    source = fields.source(source) or ""
    for priority in await reach(session):
        owned = await _holder(session, priority, source)
        if owned is not None and await _is_visible(session, owned):
            return owned
    return None


async def newest(session: Session, asked: ActivityQuery) -> list[ActivityRecord]:
    """Return what the twist sees of the activities asked for, newest first: one more than the limit, or more, when there are more."""
    overlay = session.overlay(Overlay)
    priorities = await reach(session)
    query = replace(
        asked,
        priority=priorities[0] if len(priorities) == 1 else None,
        priorities=priorities if len(priorities) > 1 else None,
        twist=session.claim.instance.twist,
        limit=(asked.limit or 0) + 1 + overlay.shadows(),
    )
    return listing.merge(await _stored(session, query), overlay.activities(), query)


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


async def require_note(session: Session, note: str) -> tuple[NoteRecord, OwnedActivity]:
    """Return the note with this id, and its activity. Raises NotFound when the twist sees none."""
    overlay = session.overlay(Overlay)
    found = overlay.note(note)
    if found is None:
        stored = (await session.host.storage.notes_by_id([note])).get(note)
        found = None if stored is None or overlay.hides(stored) else stored
    owned = await find_activity(session, found.activity) if found is not None else None
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


async def notes(session: Session, activity: str) -> list[NoteRecord]:
    """Return the notes of an activity that the twist sees, oldest first. Raises ValueTooLarge beyond the limits of a listing."""
    overlay = session.overlay(Overlay)
    found = {note.id: note for note in overlay.notes(activity)}
    size, after, more = sum(map(forms.note_size, found.values())), None, not overlay.made(activity)
    while more:
        some = await session.host.storage.notes(activity, after=after, limit=_NOTES_STEP)
        more = len(some) == _NOTES_STEP
        for note in some:
            after = (note.created_at, note.id)
            if note.id not in found:
                found[note.id] = note
                size += forms.note_size(note)
        if len(found) > session.host.limits.listing or size > NOTES_BYTES:
            raise ValueTooLarge(
                f"the activity has more than {session.host.limits.listing:,} notes or {NOTES_BYTES:,} bytes of them, which are the limits "
                "of a listing: spread them over several activities"
            )
    return sorted(found.values(), key=lambda note: (note.created_at, note.id))


async def check_source_is_free(session: Session, activity: ActivityRecord) -> None:
    """Raise InvalidValue when another activity has the activity's source in its priority."""
    if activity.source is None:
        return
    held = await _holder(session, activity.priority, activity.source)
    if held is not None and held.activity.id != activity.id:
        raise InvalidValue(f"the source {activity.source[:80]!r} is another activity's in this priority")


def require_plot(session: Session, ns: str) -> None:
    """Raise PermissionDenied unless the manifest declares a Plot tool at `ns`."""
    tool = session.tool(ns)
    if tool is None or tool.kind != "Plot":
        raise PermissionDenied(f"the twist declares no Plot tool at {ns[:80]!r}: add one as a class attribute and deploy again")


async def _is_visible(session: Session, owned: OwnedActivity) -> bool:
    instance = session.claim.instance
    if owned.twist != instance.twist:
        return False
    return owned.activity.priority == instance.priority or owned.activity.priority in await reach(session)


async def check_priorities(session: Session, priorities: Collection[str]) -> None:
    """Raise PermissionDenied when one of the priorities is beyond the reach of the instance."""
    if all(priority == session.claim.instance.priority for priority in priorities):
        return
    reachable = await reach(session)
    for priority in priorities:
        if priority not in reachable:
            raise PermissionDenied(
                f"the priority {priority[:60]!r} is not this instance's own nor below it: activities can only be made and moved there"
            )


async def reach(session: Session) -> tuple[str, ...]:
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
