"""The one place where SQLite's errors become storage's own."""

from __future__ import annotations

import apsw

from ropewalk.storage.interface import StorageError, StorageFull, StorageUnavailable, StorageUnusable

_UNUSABLE = (apsw.NotADBError, apsw.CorruptError, apsw.FormatError)
_UNAVAILABLE = (apsw.BusyError, apsw.LockedError, apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError, apsw.AuthError)


def translate(error: apsw.Error, path: str) -> StorageError:
    """Return what `error`, met while using the database at `path`, means to storage's callers.

    An I/O error counts as a full disk: quotas report themselves so, and what there is to do is the same (keep it and try again).
    """
    if isinstance(error, (apsw.FullError, apsw.IOError)):
        return StorageFull(f"the disk or quota that holds {path} is full or fails ({error}): make room there")
    if isinstance(error, _UNUSABLE):
        return StorageUnusable(f"{path} is damaged or no SQLite database ({error}): restore it from a backup")
    if isinstance(error, _UNAVAILABLE):
        return StorageUnavailable(f"{path} is locked or cannot be read or written now ({error}): try again")
    return StorageError(f"{path}: {type(error).__name__}: {error}")
