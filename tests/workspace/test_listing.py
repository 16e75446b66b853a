"""The one order and predicate of listings."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ropewalk.errors import InvalidValue
from ropewalk.storage.records import ActivityQuery, OwnedActivity
from ropewalk.wire.messages import ActivityRecord
from ropewalk.workspace import listing

IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(20)]


def owned(id_: str, created_at: int) -> OwnedActivity:
    activity = ActivityRecord(id=id_, type="note", title="t", created_at=created_at, updated_at=created_at)
    return OwnedActivity(activity=activity, twist="t", instance="i")


ACTIVITIES = st.dictionaries(st.sampled_from(IDS), st.integers(0, 5)).map(
    lambda made: [owned(id_, at) for id_, at in made.items()]
)


@given(ACTIVITIES, st.sets(st.sampled_from(IDS)), st.integers(1, 6))
def test_pages_of_a_merge_are_the_merge(activities: list[OwnedActivity], own: set[str], limit: int) -> None:
    """However the activities are spread over storage and overlay, pages give each once, newest first."""
    mine = [each for each in activities if each.activity.id in own]
    stored = [each for each in activities if each.activity.id not in own]
    seen: list[ActivityRecord] = []
    cursor = None
    while True:
        query = ActivityQuery(after=listing.place_of(cursor) if cursor else None)
        kept = sorted(
            (each for each in stored if listing.meets(query, each)), key=lambda each: listing.place(each.activity), reverse=True
        )
        page = listing.page(listing.merge(kept[: limit + 1], mine, query), limit, lambda activity: 1)
        seen += page.items
        if (cursor := page.cursor) is None:
            break
    assert seen == sorted((each.activity for each in activities), key=listing.place, reverse=True)


@given(st.integers(0, 2**53), st.uuids())
def test_cursor_says_its_place(created_at: int, id_: object) -> None:
    activity = owned(str(id_), created_at).activity
    assert listing.place_of(listing.cursor_after(activity)) == listing.place(activity)


@pytest.mark.parametrize("cursor", ["", "a", "a1.", "b1." + IDS[0], "a-1." + IDS[0], "a1." + IDS[0] + "x", "a１." + IDS[0]])
def test_cursor_that_is_none(cursor: str) -> None:
    with pytest.raises(InvalidValue, match="no cursor"):
        listing.place_of(cursor)


def test_page_that_holds_one_large_activity() -> None:
    activities = [owned(id_, 1).activity for id_ in IDS[:3]]
    page = listing.page(activities, 3, lambda activity: listing.PAGE_BYTES + 1)
    assert (len(page.items), page.cursor is not None) == (1, True)
