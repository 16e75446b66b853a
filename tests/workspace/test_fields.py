"""What fields may hold, and their stored form."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given, settings, strategies as st

from ropewalk.errors import InvalidValue, RopewalkError, ValueTooLarge
from ropewalk.wire.messages import ActivityRecord, LinkRecord, NewActivityRecord, NoteRecord
from ropewalk.workspace import fields, forms

ID = "6a2f41a3-c54c-4000-8000-5b4e9a3c1d22"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-31", "2026-01-31"),
        ("2026-01-31T09:00:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00Z", "2026-01-31T09:00:00Z"),
        ("2026-01-31 09:00:00+00:00", "2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00:00+02:00", "2026-01-31T07:00:00Z"),
        ("2026-01-31T23:30:00-05:30", "2026-02-01T05:00:00Z"),
        ("2026-01-31T09:00:00.5Z", "2026-01-31T09:00:00.500000Z"),
        ("2026-01-31T09:00:00.000001Z", "2026-01-31T09:00:00.000001Z"),
        (None, None),
    ],
)
def test_moment(text: str | None, expected: str | None) -> None:
    assert fields.moment(text, "start") == expected
    assert fields.moment(expected, "start") == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026", "2026-02-30", "2026-1-1", "2026-01-31T09:00:00", "2026-01-31T25:00:00Z", "2026-01-31T09:00:00+0200",
        "20260131", "2026-01-31T09:00:00Z ", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", "\uff12026-01-01", "2026-W01-1",
    ],
)  # fmt: skip
def test_moment_that_is_none(text: str) -> None:
    with pytest.raises(InvalidValue, match="start"):
        fields.moment(text, "start")


@given(st.datetimes(timezones=st.timezones()))
def test_every_moment_is_itself_in_utc(at: datetime) -> None:
    try:
        stored = fields.moment(at.isoformat(), "start")
    except InvalidValue:
        offset = at.utcoffset()
        assert offset is not None
        assert at.year in (1, 9999) or offset.total_seconds() % 60
        return
    assert stored is not None
    assert datetime.fromisoformat(stored) == datetime.fromisoformat(at.isoformat())


@pytest.mark.parametrize(
    ("start", "end", "fits"),
    [
        ("2026-01-01", "2026-01-01", True),
        ("2026-01-02", "2026-01-01", False),
        ("2026-01-01T09:00:00Z", "2026-01-01T09:00:00.500000Z", True),
        ("2026-01-01T09:00:00.500000Z", "2026-01-01T09:00:00Z", False),
        ("2026-01-02", "2026-01-01T09:00:00Z", True),
        (None, "2026-01-01", True),
        ("2026-01-01", None, True),
    ],
)
def test_span(start: str | None, end: str | None, *, fits: bool) -> None:
    if fits:
        fields.check_span(start, end)
    else:
        with pytest.raises(InvalidValue, match="before start"):
            fields.check_span(start, end)


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "\x1b[31m", "a\x7f", "a\ud800"])
def test_title_is_one_line(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"U\+[0-9A-F]{4} at position"):
        fields.title(text)


def test_lengths() -> None:
    assert fields.title("é" * 2000)
    assert fields.content("x" * fields.CONTENT_LIMIT)
    for check, text in ((fields.title, "x" * 2001), (fields.content, "é" * 600_000), (fields.source, "x" * 2001)):
        with pytest.raises(ValueTooLarge, match="over the limit"):
            check(text)


def test_content_has_lines() -> None:
    assert fields.content("one\r\n\ttwo\n") == "one\r\n\ttwo\n"
    for text in ("\x00", "\x1b[2J", "\ud800"):
        with pytest.raises(InvalidValue):
            fields.content(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"{}", b"{}"),
        (b' { "a" : [ 1 , 2.5, null ] } ', b'{"a":[1,2.5,null]}'),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b'{"big":123456789012345678901234567890}', b'{"big":123456789012345678901234567890}'),
        (b'{"a":"\\\\u0000"}', b'{"a":"\\\\u0000"}'),
        (None, None),
        (b"null", None),
    ],
)
def test_meta(text: bytes | None, expected: bytes | None) -> None:
    assert fields.meta(text) == expected


@pytest.mark.parametrize(
    "text", [b"", b"x", b"[]", b"1", b'"a"', b"true", b"{", b'{"a":NaN}', b'{"a":"\xff"}', b'{"a":"\\u0000"}', b'{"a":"\\ud800"}']
)
def test_meta_that_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidValue, match="meta"):
        fields.meta(text)


def test_meta_has_bounds() -> None:
    with pytest.raises(ValueTooLarge, match="65,536"):
        fields.meta(json.dumps({"a": "x" * 70_000}).encode())
    with pytest.raises(InvalidValue, match="nested too deep"):
        fields.meta(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_tags_are_kept_once_and_in_order() -> None:
    assert fields.names(["b", "a", "b"], "tags") == ["b", "a"]
    with pytest.raises(ValueTooLarge, match="101 tags"):
        fields.names([f"{number}" for number in range(101)], "tags")


@pytest.mark.parametrize("url", ["https://example.com/", "HTTP://x", "mailto:a@example.com", "tel:+1"])
def test_link(url: str) -> None:
    assert fields.links([LinkRecord(kind="external", title="t", url=url)])[0].url == url


@pytest.mark.parametrize(
    "url", [None, "", "javascript:alert(1)", " https://example.com", "https://a b", "data:text/html,x", "/path"]
)
def test_link_that_is_refused(url: str | None) -> None:
    with pytest.raises(InvalidValue, match="link"):
        fields.links([LinkRecord(kind="external", title="t", url=url)])


@pytest.mark.parametrize("token", [None, "", "a b", "x" * 300])
def test_callback_link_carries_a_token(token: str | None) -> None:
    assert fields.links([LinkRecord(kind="callback", title="t", callback="cb_abc")])
    with pytest.raises(InvalidValue, match="no callback"):
        fields.links([LinkRecord(kind="callback", title="t", callback=token)])


TEXTS = st.none() | st.text(max_size=20) | st.sampled_from(["2026-01-01", "x" * 5000, "\x00", ID])
LINKS = st.builds(
    LinkRecord, kind=st.sampled_from(["external", "callback", "auth"]), title=st.text(max_size=9), url=TEXTS, callback=TEXTS
)
NOTES = st.builds(
    NoteRecord,
    id=st.just(ID) | st.text(max_size=9),
    content=st.text(),
    key=TEXTS,
    links=st.lists(LINKS, max_size=2),
    tags=st.lists(st.text(max_size=4)),
)
ACTIVITIES = st.builds(
    ActivityRecord,
    id=st.just(ID) | st.text(max_size=9),
    type=st.sampled_from(["note", "action", "event"]),
    title=st.text(),
    start=TEXTS,
    end=TEXTS,
    done_at=st.none() | st.integers(-(2**63), 2**63 - 1),
    source=TEXTS,
    meta=st.none() | st.binary(max_size=20) | st.sampled_from([b"{}", b'{"a":[]}', b"[" * 5000]),
    tags=st.lists(st.text(max_size=4), max_size=3),
    assignee=TEXTS,
)


@settings(deadline=None, max_examples=300)
@given(st.builds(NewActivityRecord, activity=ACTIVITIES, start_now=st.booleans()), NOTES)
def test_whatever_comes_is_stored_or_refused_by_name(new: NewActivityRecord, note: NoteRecord) -> None:
    try:
        stored = forms.new_activity(new, "p", 1)
        assert forms.new_activity(NewActivityRecord(activity=stored), "p", 1) == stored
        kept = forms.new_note(note)
        assert forms.new_note(kept) == kept
    except RopewalkError as refused:
        message = str(refused)
        assert message.isprintable()


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["title", "start", "meta", "tags", "links", "done_at", "x"]),
        st.none() | st.integers() | st.text() | st.lists(st.text()),
    )
    | st.text()
)
def test_whatever_changes_come_are_taken_or_refused(given: object) -> None:
    for take in (forms.activity_changes, forms.note_changes):
        try:
            take(json.dumps(given).encode("utf-8", "replace"))
        except RopewalkError as refused:
            message = str(refused)
            assert message.isprintable()
