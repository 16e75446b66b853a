"""What the runtime logs while a command runs: JSON lines on stdout for programs, safe lines on stderr for people."""

from __future__ import annotations

import logging
import time
from typing import Any

from ropewalk.cli.common.output import emit_line, safe_entry, say


class JsonLines(logging.Handler):
    """Writes log records as JSON lines on stdout; a record's `fields` are among them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        emit_line(
            {"time": _time(record), "level": record.levelname, "logger": record.name, "message": _message(record), **fields}
        )


class PeoplesLines(logging.Handler):
    """Writes log records on stderr, safe to be read on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        say(f"{_time(record)[:19].replace('T', ' ')}Z  {record.levelname:<8}  {safe_entry(_message(record))}")


def tell(handler: logging.Handler, level: int) -> None:
    """Have log records from `level` on go to the handler and nowhere else."""
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _message(record: logging.LogRecord) -> str:
    if record.exc_info:
        return f"{record.getMessage()}\n{logging.Formatter().formatException(record.exc_info)}"
    return record.getMessage()


def _time(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"
