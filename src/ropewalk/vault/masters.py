"""Master keys: where they come from, and how a text becomes one.

They are the setting `key`, the first the newest, or else the lines of a file beside the database that only its owner can read, made when
something is sealed for the first time. Which of them seals is not said here: the database says which is in force.

The file appears whole or not at all, and never over another: of two processes that make it at once, one reads the other's.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from ropewalk.vault.ciphers import ID_BYTES, KEY_BYTES, cipher
from ropewalk.vault.errors import KeyMissing, KeyRefused

SHORTEST: Final = 16
"""Characters that the text of a key has at least."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_STRETCH: Final = {"n": 2**14, "r": 8, "p": 1, "dklen": KEY_BYTES}
"""What a passphrase costs to try: 16 MiB and some 40 ms each."""


class MasterKey:
    """A master key: the id by which wrapped keys name it, and its cipher."""

    __slots__ = ("cipher", "id")

    def __init__(self, key: bytes) -> None:
        self.id = hashlib.sha256(b"ropewalk master key id" + key).digest()[:ID_BYTES].hex()
        self.cipher = cipher(key)


def new_text() -> str:
    """Return a new master key as the text that the setting and the file have."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()


@cache
def master_key(text: str) -> MasterKey:
    """Return the key that a text stands for: 32 bytes as base64 or hexadecimal as they are, anything else as a passphrase, stretched.

    Raises:
        KeyRefused: the text is too short.
    """
    if len(text) < SHORTEST:
        raise KeyRefused(
            f"a master key has at least {SHORTEST} characters, and one of {len(text)} was given: `ropewalk key new` makes one"
        )
    return MasterKey(_whole_key(text) or hashlib.scrypt(text.encode(), salt=b"ropewalk master key", **_STRETCH))


def _whole_key(text: str) -> bytes | None:
    with contextlib.suppress(ValueError):
        if len(text) == 2 * KEY_BYTES:
            return bytes.fromhex(text)
    with contextlib.suppress(binascii.Error, ValueError):
        key = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
        return key if len(key) == KEY_BYTES else None
    return None


class Masters:
    """The master keys at hand, read when they are needed.

    Args:
        given: the texts of the setting `key`; when there are any, the file is not looked at.
        file: where the key lies otherwise.
    """

    def __init__(self, given: Sequence[str], file: Path) -> None:
        self._given = tuple(given)
        self.file = file
        self._known: dict[str, MasterKey] = {}

    @property
    def in_file(self) -> bool:
        """Whether the keys are those of the file."""
        return not self._given

    @property
    def source(self) -> str:
        """Where the keys are, for messages."""
        return str(self.file) if self.in_file else "ROPEWALK_KEY"

    def texts(self) -> list[str]:
        """Return the texts of all keys, the newest first; none when there is no file.

        Raises:
            KeyRefused: the file can be read by others, or cannot be read.
        """
        return _read(self.file) if self.in_file else list(self._given)

    def first(self) -> MasterKey:
        """Return the newest key; the file is made when there is none. Raises KeyRefused."""
        texts = self.texts()
        if not texts:
            self._make()
            texts = self.texts()
        return master_key(texts[0])

    def find(self, wanted: str) -> MasterKey:
        """Return the key with an id. One that is not known is looked for anew: another process may have put it into the file.

        Raises:
            KeyMissing: it is not there.
            KeyRefused: the keys that are there cannot be used.
        """
        if wanted not in self._known:
            self._known.update((key.id, key) for key in map(master_key, self.texts()))
        if wanted not in self._known:
            raise KeyMissing(self._missing(wanted))
        return self._known[wanted]

    def _missing(self, wanted: str) -> str:
        sealed = f"the database's secrets are sealed with master key {wanted}, "
        if self.in_file:
            absent = f"which {self.file} does not hold" if self.file.exists() else f"and {self.file} is gone"
            remedy = "restore that file from its backup, or give the key in ROPEWALK_KEY"
        else:
            absent = "which is none of those in ROPEWALK_KEY"
            beside = f" ({self.file} may hold it)" if self.file.exists() else ""
            remedy = f"give it there, after the new one while keys are rotated: ROPEWALK_KEY=new,old{beside}"
        return f"{sealed}{absent}: {remedy}. Nothing is lost meanwhile"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Change the file in this block and nowhere else. Raises KeyRefused when another process is at it."""
        folder = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise KeyRefused(f"another process is rotating the master key at {self.file.parent}: wait until it is done") from None
        finally:
            os.close(folder)

    @property
    def are_changing(self) -> bool:
        """Whether another process is `alone` with the file."""
        try:
            with self.alone():
                return False
        except KeyRefused:
            return True

    def add(self) -> MasterKey:
        """Put a new key before the others in the file, and return it."""
        text = new_text()
        self._replace([text, *self.texts()])
        return master_key(text)

    def keep_only(self, wanted: str) -> int:
        """Remove every other key from the file; returns how many there were."""
        texts = self.texts()
        kept = [text for text in texts if master_key(text).id == wanted]
        if len(kept) < len(texts):
            self._replace(kept)
        return len(texts) - len(kept)

    def _make(self) -> None:
        draft = self._draft([new_text()])
        try:
            with contextlib.suppress(FileExistsError):
                os.link(draft, self.file)
        except OSError as error:
            raise KeyRefused(f"the master key cannot be made at {self.file}: {error.strerror}") from error
        finally:
            draft.unlink()
        _sync(self.file.parent)

    def _replace(self, texts: Iterable[str]) -> None:
        self._draft(texts).replace(self.file)
        _sync(self.file.parent)

    def _draft(self, texts: Iterable[str]) -> Path:
        """Write a file beside the one that it is to become, and have it on the disk."""
        draft = self.file.with_name(f"{self.file.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
                file.writelines(f"{text}\n" for text in texts)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise KeyRefused(f"the master key cannot be written to {draft}: {error.strerror}") from error
        return draft


def _read(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if mode & _OTHERS:
                raise KeyRefused(
                    f"{path} holds the master key, and others may read or write it (mode {mode & 0o777:o}): "
                    f"see who has, then `chmod 600 {path}`"
                )
            return [line.strip() for line in file if line.strip()]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise KeyRefused(f"{path} holds the master key and cannot be read: {error}") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
