"""Everything that authors' code writes becomes log lines of the execution: `logging`, `print`, standard error.

Installed once in the version zygote, before the author's module is imported; nothing is written until an attempt opens it. Lines are
bounded here so that a loop that prints costs neither side much: the first that goes over the limit is still sent, for the host to say
that it cut.
"""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ropewalk.clock import Micros, SystemClock
from ropewalk.wire.messages import Json, Log

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from ropewalk.guest.channel import Channel

LINE_OVERHEAD: Final = 32
"""Bytes that each line counts beside its text, as on the host."""

_LONGEST_PARTIAL: Final = 64 * 1024
_RECORD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogBook:
    """Where lines go: to the attempt's channel while one is open, and nowhere before that.

    Attributes:
        printed: whether anything was written to the standard streams, which may have an unfinished line then.
    """

    def __init__(self) -> None:
        self.printed = False
        self._channel: Channel | None = None
        self._limit = 0
        self._left = 0

    def open(self, channel: Channel, limit: int) -> None:
        """Send lines to `channel`, `limit` bytes of them."""
        self._channel = channel
        self._limit = self._left = limit

    def close(self) -> None:
        """Send no more."""
        self._channel = None

    @property
    def wants(self) -> bool:
        """Whether another line would be sent."""
        return self._channel is not None and self._left >= 0

    def write(self, at: Micros, level: int, text: str, fields: Json | None = None) -> None:
        """Send a line."""
        channel = self._channel
        if channel is None or self._left < 0:
            return
        message = _clean(text[: self._limit + 1])
        if fields is not None and len(fields) > self._limit:
            fields = None
        self._left -= _bytes_in(message) + len(fields or b"") + LINE_OVERHEAD
        channel.log(Log(time=at, level=min(max(level, 0), 100), message=message, fields=fields))


class BookHandler(logging.Handler):
    """Writes log records into the book: their message and traceback, and what `extra=` added as fields."""

    def __init__(self, book: LogBook) -> None:
        super().__init__()
        self._book = book

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        if not self._book.wants:
            return
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 — arguments that do not fit or cannot be printed must not end the method
            text = f"{record.msg!r:.2000} (could not be formatted: {type(error).__name__})"
        extra = {name: value for name, value in vars(record).items() if name not in _RECORD_FIELDS}
        self._book.write(int(record.created * 1e6), record.levelno, text, fields_json(extra) if extra else None)


class BookStream(io.RawIOBase):
    """Writes each line of text that is written to it into the book."""

    def __init__(self, book: LogBook, level: int) -> None:
        super().__init__()
        self._book = book
        self._level = level
        self._partial = bytearray()

    @property
    def name(self) -> str:
        """What standard streams are called."""
        return "<log>"

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Take bytes; every whole line among them is written."""
        given = bytes(data)
        if not self._book.wants:
            return len(given)
        self._partial += given
        *lines, rest = bytes(self._partial).split(b"\n")
        if len(rest) > _LONGEST_PARTIAL:
            lines, rest = [*lines, rest], b""
        self._partial[:] = rest
        self._book.printed = True
        for line in lines:
            self._line(line)
        return len(given)

    def end_line(self) -> None:
        """Write what has come of an unfinished line."""
        if self._partial:
            self._line(bytes(self._partial))
            self._partial.clear()

    def _line(self, line: bytes) -> None:
        self._book.write(SystemClock().now(), self._level, line.decode(errors="replace"))


class Output:
    """The standard streams and the root logger of a twist's processes."""

    def __init__(self) -> None:
        self.book = LogBook()
        self._handler = BookHandler(self.book)
        self._raw = [BookStream(self.book, logging.INFO), BookStream(self.book, logging.WARNING)]
        self._text = [
            io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
            for raw in self._raw
        ]

    def install(self) -> None:
        """Take the standard streams, of which input is empty; from here on what the module writes or sets up in `logging` can be told from ours."""
        sys.stdin, (sys.stdout, sys.stderr) = io.StringIO(), self._text
        logging.getLogger().setLevel(logging.INFO)
        # From 3.12 on a record asks for the current task, which would wake an event loop.
        setattr(logging, "logAsyncioTasks", False)  # noqa: B010 — 3.11 has no such name

    def adopt_root_logger(self) -> None:
        """Have every logger's records written, in place of handlers that would print them to our own streams."""
        root = logging.getLogger()
        for handler in list(root.handlers):
            if handler is self._handler or getattr(handler, "stream", None) in self._text:
                root.removeHandler(handler)
        root.addHandler(self._handler)

    def flush(self) -> None:
        """Write unfinished lines."""
        if not self.book.printed:
            return
        for text, raw in zip(self._text, self._raw, strict=True):
            try:
                text.flush()
            except ValueError:  # the author has closed or detached it
                continue
            raw.end_line()


def fields_json(extra: dict[str, Any]) -> Json:
    """Return the JSON object of a record's fields; what has no JSON form is shown as its repr."""
    try:
        return _encode(extra)
    except Exception:  # noqa: BLE001 — keys that are no text, surrogates, cycles, hostile methods: kept one by one, as text
        return _encode({_clean(str(name)): _clean(shown(value)) for name, value in extra.items()})


def shown(value: object) -> str:
    """Return the repr of anything, whatever its `__repr__` does."""
    try:
        return str.__str__(repr(value))
    except BaseException:  # noqa: BLE001 — a value that cannot be shown must not end the execution
        return f"<a {type(value).__name__} that cannot be shown>"


def _bytes_in(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _clean(text: str) -> str:
    """Return text that UTF-8 can say."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text


_encode = msgspec.json.Encoder(enc_hook=shown).encode

OUTPUT: Final = Output()
"""The process's own."""
