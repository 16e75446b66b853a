"""How many records one message may hold: looked at before they are made, since a few megabytes can be a million records, and seconds of work.

Lists have their bounds in the schema, which the decoder checks before it reads their items. What no schema can say is how many notes all
activities of a message have together. Before: `frames`. After: whoever decodes `messages`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from ropewalk.wire.messages import BATCH, GuestMessage

LARGE: Final = 256 * 1024
"""Bytes below which a message cannot hold enough to matter."""

ROWS: Final = 20_000
"""Most records in one message: more than an attempt may change between two commits, which is refused with an error that can be caught."""


_Raws = Annotated[list[msgspec.Raw], Meta(max_length=BATCH)]


class _Activity(Struct, frozen=True):
    notes: _Raws = []


class _Note(Struct, frozen=True):
    links: _Raws = []


_decode: Final[Callable[[bytes], GuestMessage]] = msgspec.msgpack.Decoder(GuestMessage).decode
_activities_of: Final = msgspec.msgpack.Decoder(tuple[Literal["activities.create"], int, str, _Raws]).decode
_notes_of: Final = msgspec.msgpack.Decoder(tuple[Literal["notes.create"], int, str, str, _Raws]).decode
_activity: Final = msgspec.msgpack.Decoder(_Activity).decode
_note: Final = msgspec.msgpack.Decoder(_Note).decode


def decode_large(message: bytes) -> GuestMessage:
    """Return a message of a guest that has more than `LARGE` bytes.

    Raises:
        msgspec.ValidationError: it holds more than a message may, or what it should not.
        msgspec.DecodeError: it is none.
    """
    for count, _ in enumerate(_records_in(message), 1):
        if count > ROWS:
            raise msgspec.ValidationError(f"more than {ROWS:,} activities, notes and links in one message")
    return _decode(message)


def _records_in(message: bytes) -> Iterator[object]:
    """Yield the activities, notes and links of a message that creates some."""
    for records_of, below in ((_activities_of, _below_activity), (_notes_of, _below_note)):
        try:
            *_, records = records_of(message)
        except msgspec.ValidationError:
            continue  # another message
        for record in records:
            yield record
            yield from below(record)


def _below_activity(activity: msgspec.Raw) -> Iterator[object]:
    for note in _activity(activity).notes:
        yield note
        yield from _below_note(note)


def _below_note(note: msgspec.Raw) -> Iterator[object]:
    yield from _note(note).links
