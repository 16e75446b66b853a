"""What activities, notes and changes to them are brought to: refused by name, or in a form that is its own form."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import msgspec

from ropewalk.errors import RopewalkError
from ropewalk.wire.messages import ActivityRecord, ActivityUpdate, NewActivityRecord, NoteRecord, NoteUpdate
from ropewalk.workspace import fields, forms, listing
from tests.fuzz.choices import Choices
from tests.fuzz.messages import Tongue

_KINDS: Final[tuple[type[msgspec.Struct], ...]] = (NewActivityRecord, NoteRecord, ActivityUpdate, NoteUpdate)
_AT: Final = 1_800_000_000_000_000
_decode: Final = {kind: msgspec.json.Decoder(kind).decode for kind in (ActivityRecord, NoteRecord)}


def run(data: bytes) -> None:
    """Bring what `data` decides to its form, and that form to its own."""
    choices = Choices(data)
    given = Tongue(choices, []).struct(choices.pick(_KINDS))
    with suppress(RopewalkError):
        _bring(given)


def _bring(given: msgspec.Struct) -> None:
    match given:
        case NewActivityRecord():
            made = forms.new_activity(given, "home", _AT)
            assert forms.new_activity(NewActivityRecord(activity=made), "home", _AT) == made
            assert _decode[ActivityRecord](msgspec.json.encode(made)) == made
            assert forms.activity_size(made) > 0
            assert listing.place_of(listing.cursor_after(made)) == listing.place(made)
        case NoteRecord():
            note = forms.new_note(given)
            assert forms.new_note(note) == note
            assert _decode[NoteRecord](msgspec.json.encode(note)) == note
        case ActivityUpdate():
            _stored(forms.activity_changes(given.changes))
        case NoteUpdate():
            _stored(forms.note_changes(given.changes))
        case _:
            raise AssertionError(given)


def _stored(changes: dict[str, object]) -> None:
    """See that what is changed can be written: text as UTF-8, numbers in 64 bits."""
    assert forms.changes_size(changes) >= 100
    for value in changes.values():
        if isinstance(value, str):
            value.encode()
        if isinstance(value, int):
            assert -(2**63) <= value < 2**63
    fields.check_span(_text(changes.get("start")), _text(changes.get("end")))


def _text(value: object) -> str | None:
    assert value is None or isinstance(value, str)
    return value
