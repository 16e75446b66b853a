"""Limitations 3, wrong: there is no file that a twist can write, and none of the host's that it can read."""

import json
import os
import tempfile
from pathlib import Path

from ropewalk import Twist


class WritesFiles(Twist):
    """Tries to keep data in files."""

    async def write(self, path: str) -> None:
        """Write a file."""
        Path(path).write_text(json.dumps({"a": 1}))

    async def append(self, path: str) -> None:
        """Append to a file that is there."""
        with Path(path).open("a") as file:
            file.write("x")

    async def make_folder(self, path: str) -> None:
        """Make a folder."""
        Path(path).mkdir()

    async def remove(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink()

    async def temporary(self) -> None:
        """Use a temporary file."""
        with tempfile.TemporaryFile() as file:
            file.write(b"x")

    async def read(self, path: str) -> str:
        """Read a file."""
        return Path(path).read_text(errors="replace")

    async def own_path(self) -> str:
        """Where this module is."""
        return __file__

    async def environment(self) -> dict[str, str]:
        """What the environment says."""
        return dict(os.environ)
