"""Commands run in the test's own process, in a folder of its own, on a database of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.calling import Ropewalk


@pytest.fixture
def ropewalk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Ropewalk:
    for name in [name for name in os.environ if name.startswith("ROPEWALK_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Ropewalk(tmp_path, capfd)
