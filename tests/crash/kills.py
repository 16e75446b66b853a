"""Moments at which a node is killed: before, amid and after its commits.

A virtual file system between SQLite and the kernel counts what is written and synced; statements that begin and commit, and the moment
between a commit and its callers' hearing of it, count too. At the n-th of these points the process kills itself. With power loss, what was
written and not synced since is undone first, from its end: all of it or a part, as a disk may have kept some.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import apsw

from ropewalk.storage.sqlite import committer, connection
from ropewalk.storage.sqlite.driver import Connection
from tests.crash.points import Naming, Passed
from tests.crash.watched import Journal

_NAME = "crashing"


Place = tuple[str, bool]
"""A kind of commit, and whether right after it rather than right before."""

Commit = tuple[int, str, int]
"""The step that was being done, a kind, and how many of that kind there were since the step began."""


@dataclass
class Kill:
    """When to die, and how much of what is not synced is lost with the power.

    Attributes:
        at: at the n-th point of any kind; None: at none.
        commits: right before, or right `after`, the first of these commits that comes.
        after: see `commits`.
        but_at: right before or after the first commit whose place is not among these; None: at none.
        lost: how much goes with the power, from 0 to 1; None: the power stays, and nothing does.
    """

    at: int | None = None
    commits: frozenset[Commit] = frozenset()
    after: bool = False
    but_at: frozenset[Place] | None = None
    lost: float | None = None

    def is_at(self, passed: Passed) -> bool:
        """Whether this commit is the one."""
        if self.but_at is not None:
            return any((kind, passed.after) not in self.but_at for kind in passed.kinds)
        return passed.after == self.after and any((passed.step, *kind) in self.commits for kind in passed.kinds.items())


@dataclass
class Points:
    """The points that have come, and the writes that power loss would take."""

    kill: Kill
    tell: Journal
    tells_all: bool = False
    passed: int = 0
    system: apsw.VFS | None = None
    unsynced: list[tuple[str, int, bytes, int]] = field(default_factory=list)

    def pass_one(self) -> None:
        """Die when this is the one."""
        self.passed += 1
        if self.passed == self.kill.at:
            self.die()

    def pass_commit(self, passed: Passed) -> None:
        """Die when this is the one."""
        dies = self.kill.is_at(passed)
        if dies or self.tells_all:
            self.tell(point=passed.kinds, after=passed.after, step=passed.step)
        if dies:
            self.die()

    def die(self) -> NoReturn:
        """End this process as SIGKILL does, and with the power what was not synced."""
        if self.kill.lost is not None:
            for name, offset, before, size in reversed(self.unsynced[int(len(self.unsynced) * (1 - self.kill.lost)) :]):
                _undo(name, offset, before, size)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it was killed")


def _undo(name: str, offset: int, before: bytes, size: int) -> None:
    with open(name, "r+b") as file:
        file.seek(offset)
        file.write(before)
        file.truncate(size)


class _File(apsw.VFSFile):
    """A file whose writes and syncs are points."""

    def __init__(self, points: Points, name: Any, flags: Any) -> None:
        self._points = points
        self._name = name.filename() if isinstance(name, apsw.URIFilename) else name
        super().__init__("unix", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - the driver's name
        self._points.pass_one()
        if self._points.kill.lost is not None and self._name:
            size = self.xFileSize()
            before = self.xRead(min(len(data), size - offset), offset) if offset < size else b""
            self._points.unsynced.append((self._name, offset, before, size))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802 - the driver's name
        self._points.pass_one()
        super().xSync(flags)
        self._points.unsynced = [one for one in self._points.unsynced if one[0] != self._name]


class _System(apsw.VFS):
    def __init__(self, points: Points) -> None:
        self._points = points
        super().__init__(_NAME, "unix")

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - the driver's name
        return _File(self._points, name, flags)


def install(kill: Kill, tell: Journal, *, tells_all: bool = False) -> Callable[[int], None]:
    """Have every database that this process opens from now on count its points; returns what is to be told of each step that begins.

    The commit at which it dies is told; with `tells_all` every one is.
    """
    points = Points(kill, tell, tells_all)
    points.system = _System(points)
    setattr(connection, "connect", _connecting(points))  # noqa: B010 - which the module does not export
    wake = committer.Committer._wake

    def waking(self: committer.Committer, group: Any) -> None:
        points.pass_one()
        wake(self, group)

    setattr(committer.Committer, "_wake", waking)  # noqa: B010 - which is private
    naming = Naming(points.pass_commit)
    if kill.commits or kill.but_at is not None or tells_all:
        naming.install()
    return naming.begin


def _connecting(points: Points) -> Any:
    def connect(path: str, *, statements: int) -> Connection:
        opened = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=statements, vfs=_NAME)

        def trace(_cursor: Any, sql: str, _bindings: Any) -> bool:
            if sql in ("BEGIN IMMEDIATE", "COMMIT"):
                points.pass_one()
            return True

        opened.exec_trace = trace
        return cast("Connection", opened)

    return connect
