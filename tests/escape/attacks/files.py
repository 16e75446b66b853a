"""Reading what is the host's: files, the environment, /proc, inherited descriptors."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

from tests.escape.guards import landlock, mounts
from tests.escape.harness import BAITS, Attack, Bait, says_secret


@contextlib.contextmanager
def secret_file() -> Iterator[Bait]:
    """A file that everyone on the host may read."""
    path, secret = BAITS / "secret", secrets.token_hex(16)
    path.write_text(secret)
    path.chmod(0o644)
    yield Bait(secret=secret, path=str(path))


ATTACKS = [
    Attack(
        name="read a file of the host",
        source="return open(given['path']).read()",
        bait=secret_file,
        held_by=[mounts(str(BAITS), name="the host's files"), landlock()],
        through=says_secret,
    ),
]
