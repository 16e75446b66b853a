"""`ropewalk new`."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template

import click

from ropewalk.cli.common.command import Command
from ropewalk.cli.common.failures import Failed
from ropewalk.cli.common.output import say, show
from ropewalk.cli.common.state import State, pass_state

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TAKEN = frozenset({"ActivityType", "NewActivity", "Options", "Plot", "Priority", "Twist"})
"""Names that the new module imports."""

_SUFFIX = ".in"


@click.command(
    "new",
    cls=Command,
    examples=(
        ("ropewalk new hello", "a project in ./hello"),
        ("ropewalk new twists/issue-sync", "in another folder"),
    ),
)
@click.argument("path", metavar="NAME", type=click.Path(path_type=Path))
@pass_state
def command(state: State, path: Path) -> None:
    """Start a project in a new folder: a twist that works, a test, lint settings, a README."""
    name = path.name
    if _NAME.fullmatch(name) is None:
        raise click.BadParameter(f"{name!r}: use small letters, digits and single dashes, a letter first", param_hint="NAME")
    written = _scaffold(path, name)
    show(state, {"name": name, "path": str(path.absolute()), "files": written}, lambda: _tell(path, name, written))


def _scaffold(folder: Path, name: str) -> list[str]:
    """Write the project's files and return their paths, relative to its folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failed("FileExistsError", f"{folder} is there already: choose another name, or remove it")
    words = {"name": name, "cls": _class_name(name)}
    return sorted(_write(resources.files("ropewalk.cli") / "scaffold", folder, "", words))


def _write(source: Traversable, folder: Path, below: str, words: dict[str, str]) -> list[str]:
    """Write every template below `source` with its words put in."""
    (folder / below).mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for entry in source.iterdir():
        if entry.is_dir():
            written += _write(entry, folder, f"{below}{entry.name}/", words)
        elif entry.name.endswith(_SUFFIX):
            name = below + entry.name.removesuffix(_SUFFIX).replace("gitignore", ".gitignore")
            (folder / name).write_text(Template(entry.read_text(encoding="utf-8")).substitute(words), encoding="utf-8")
            written.append(name)
    return written


def _class_name(name: str) -> str:
    """Return the class for a project's name: `issue-sync` is `IssueSync`."""
    joined = "".join(word.capitalize() for word in name.split("-"))
    return f"My{joined}" if joined in _TAKEN else joined


def _tell(path: Path, name: str, written: list[str]) -> None:
    for file in written:
        click.echo(path / file)
    say(f"\nNext:\n  cd {path}\n  ropewalk deploy\n  ropewalk activate {name} --wait\n  ropewalk drain\n  ropewalk activities")
