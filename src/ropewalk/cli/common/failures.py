"""Every failure of a command as a type, a message and an exit code."""

from __future__ import annotations

from typing import Any

WRONG_USAGE = 2


class Failed(Exception):
    """A command failed.

    Attributes:
        type: what scripts look at.
        told: the message as people get it; programs get the exception's own.
        document: what programs get beside the error.
        unexpected: whether it is a mistake of ours, to be shown with its traceback.
    """

    def __init__(
        self,
        type: str,  # noqa: A002 — the word used in the output
        message: str,
        *,
        told: str | None = None,
        exit_code: int = 1,
        document: dict[str, Any] | None = None,
        unexpected: bool = False,
    ) -> None:
        super().__init__(message)
        self.type = type
        self.told = message if told is None else told
        self.exit_code = exit_code
        self.document = document or {}
        self.unexpected = unexpected


def failure_of(error: Exception) -> Failed:
    """Return a failure as a command's: what the service refuses keeps its own name and message."""
    from ropewalk.errors import RopewalkError
    from ropewalk.sandbox.interface import RefusedImport, SandboxError
    from ropewalk.service.bundles import BundleError
    from ropewalk.service.config import SettingsError
    from ropewalk.service.replaying import CannotReplay
    from ropewalk.storage.interface import QueueIsFull, StorageError, UnknownInstance
    from ropewalk.vault.errors import VaultError

    if isinstance(error, Failed):
        return error
    if isinstance(error, RefusedImport):
        told = f"{error.type}: {error.message}"
        return Failed(error.type, error.message, told=f"{told}\n\n{error.traceback.rstrip()}" if error.traceback else told)
    if isinstance(error, SettingsError):
        return Failed("SettingsError", str(error), exit_code=WRONG_USAGE)
    if isinstance(error, QueueIsFull | UnknownInstance):
        return Failed("QueueFull" if isinstance(error, QueueIsFull) else "NotFound", str(error))
    if isinstance(error, RopewalkError | StorageError | SandboxError | BundleError | VaultError | CannotReplay):
        return Failed(type(error).__name__, str(error))
    if isinstance(error, OSError):
        return Failed(type(error).__name__, str(error))
    return Failed(type(error).__name__, str(error) or type(error).__name__, unexpected=True)
