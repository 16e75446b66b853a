"""The command line, called as a function: the same code as the process, without starting one for each call."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ropewalk.cli.common.app import run


@dataclass(frozen=True)
class Done:
    """A command that returned."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only JSON document that it printed."""
        return json.loads(self.out)

    @property
    def error(self) -> tuple[str, str]:
        """The type and message of the error that it printed as JSON."""
        error = self.json["error"]
        return error["type"], error["message"]


class Ropewalk:
    """Commands in one folder."""

    def __init__(self, folder: Path, captured: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._captured = captured

    def __call__(self, *arguments: str) -> Done:
        """Run a command."""
        self._captured.readouterr()
        code = run(arguments)
        told = self._captured.readouterr()
        return Done(code, told.out, told.err)

    def json(self, *arguments: str) -> Any:
        """Run a command that has to succeed and return the JSON that it prints."""
        done = self(*arguments, "--json")
        assert done.code == 0, done
        return done.json
