"""Listing activities: one predicate and one order, which storage has in SQL and the merge of an attempt's own changes has here.

Newest first: `created_at`, then `id`, both falling. A cursor names the last activity of a page; the next page begins after it, whatever
was added or removed meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from ropewalk.clock import Micros
from ropewalk.errors import InvalidValue
from ropewalk.storage.records import ActivityQuery, OwnedActivity
from ropewalk.wire.messages import ActivityRecord, Json, Page

PAGE_BYTES: Final = 16 * 1024 * 1024
"""Most bytes in a page, about: one that would have more is shorter, and its cursor goes on."""

_CURSOR = re.compile(r"a([0-9a-f]{1,16})\.([0-9a-f-]{36})", re.ASCII)

_deterministic = msgspec.json.Encoder(order="deterministic").encode

Place = tuple[Micros, str]


def place(activity: ActivityRecord) -> Place:
    """Where an activity stands in the order: a greater place comes first."""
    return activity.created_at, activity.id


def meets(query: ActivityQuery, owned: OwnedActivity) -> bool:
    """Whether an activity is one of those that the query asks for."""
    activity = owned.activity
    return (
        (query.priority is None or activity.priority == query.priority)
        and (query.priorities is None or activity.priority in query.priorities)
        and (query.twist is None or owned.twist == query.twist)
        and (query.type is None or activity.type == query.type)
        and (query.done is None or (activity.done_at is not None) == query.done)
        and (query.source_prefix is None or (activity.source or "").startswith(query.source_prefix))
        and (query.updated_since is None or activity.updated_at >= query.updated_since)
        and (query.meta is None or _has_entry(activity.meta, *query.meta))
        and (query.after is None or place(activity) < query.after)
    )


def merge(stored: Iterable[OwnedActivity], own: Iterable[OwnedActivity], query: ActivityQuery) -> list[ActivityRecord]:
    """Return what was stored and what the attempt itself has made or changed, in one order.

    `stored` meets the query and has nothing that the attempt touched; of `own` only what meets the query is taken.
    """
    merged = [owned.activity for owned in stored]
    added = [owned.activity for owned in own if meets(query, owned)]
    if added:
        merged += added
        merged.sort(key=place, reverse=True)
    return merged


def page(activities: list[ActivityRecord], limit: int, size: Callable[[ActivityRecord], int]) -> Page:
    """Return the first `limit` of the activities, fewer when they are large, and the cursor when there are more."""
    left = PAGE_BYTES
    items: list[ActivityRecord] = []
    for activity in activities[:limit]:
        left -= size(activity)
        if left < 0 and items:
            break
        items.append(activity)
    more = len(items) < len(activities)
    return Page(items=items, cursor=cursor_after(items[-1]) if more and items else None)


def _has_entry(meta: Json | None, key: str, value: Json) -> bool:
    """Whether meta has this value under this key, however its JSON is written."""
    entries = msgspec.json.decode(meta, type=dict[str, Any]) if meta is not None else {}
    return key in entries and _deterministic(entries[key]) == _deterministic(msgspec.json.decode(value))


def cursor_after(activity: ActivityRecord) -> str:
    """Return the cursor of a page that ends with this activity."""
    return f"a{activity.created_at:x}.{activity.id}"


def place_of(cursor: str) -> Place:
    """Return where a cursor stands.

    Raises:
        InvalidValue: it is none of ours.
    """
    parts = _CURSOR.fullmatch(cursor)
    if parts is None:
        raise InvalidValue(f"{cursor[:60]!r} is no cursor: pass the `.cursor` of the page before, or None for the first page")
    return int(parts[1], 16), parts[2]
