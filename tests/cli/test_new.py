"""The project that `ropewalk new` makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.calling import Ropewalk

FILES = [".gitignore", "README.md", "pyproject.toml", "tests/test_twist.py", "twist.py"]


def tool(folder: Path, *command: str) -> None:
    """Run a Python tool in a folder; it has to succeed."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_writes_a_project(ropewalk: Ropewalk) -> None:
    made = ropewalk.json("new", "hello")
    assert made == {"name": "hello", "path": str(ropewalk.folder / "hello"), "files": FILES}
    assert all((ropewalk.folder / "hello" / name).is_file() for name in FILES)
    assert "class Hello(Twist):" in (ropewalk.folder / "hello" / "twist.py").read_text()


def test_it_may_be_below_another_folder(ropewalk: Ropewalk) -> None:
    ropewalk.json("new", "twists/issue-sync")
    assert "class IssueSync(Twist):" in (ropewalk.folder / "twists" / "issue-sync" / "twist.py").read_text()


def test_a_name_of_the_runtime_s_is_not_hidden(ropewalk: Ropewalk) -> None:
    ropewalk.json("new", "plot")
    assert "class MyPlot(Twist):" in (ropewalk.folder / "plot" / "twist.py").read_text()


@pytest.mark.parametrize("name", ["Hello", "2fast", "a_b", "a--b", "é", "-x", "a b"])
def test_what_is_no_name(ropewalk: Ropewalk, name: str) -> None:
    assert ropewalk("new", "--json", "--", name).code == 2


def test_what_is_there_is_left_alone(ropewalk: Ropewalk) -> None:
    (ropewalk.folder / "hello").mkdir()
    (ropewalk.folder / "hello" / "mine.txt").write_text("")
    done = ropewalk("new", "hello", "--json")
    assert done.code == 1
    assert done.error[0] == "FileExistsError"


def test_it_passes_its_own_lint(ropewalk: Ropewalk) -> None:
    for name in ("hello", "a-rather-long-name-for-a-twist-that-does-so-very-little"):
        ropewalk.json("new", name)
        tool(ropewalk.folder / name, "ruff", "check", "--no-cache")
        tool(ropewalk.folder / name, "ruff", "format", "--check", "--no-cache")


def test_it_passes_its_own_types(ropewalk: Ropewalk) -> None:
    ropewalk.json("new", "hello")
    tool(ropewalk.folder / "hello", "mypy", "--strict", "--cache-dir", str(ropewalk.folder / "cache"), "twist.py")


def test_it_passes_its_own_tests(ropewalk: Ropewalk) -> None:
    ropewalk.json("new", "hello")
    tool(ropewalk.folder / "hello", "pytest", "-q", "-p", "no:cacheprovider")
