"""Commit points by name: what is committed when, so that a node can be killed right before or after a commit of each kind there is.

A kind is a verb of the storage's that writes, or what a settlement makes of an execution, or an effect that goes along with one. The verbs and
effects are read off the code: one that is added is known here, and has to be reached.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections import Counter
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final

from msgspec import Struct

from ropewalk.storage import records
from ropewalk.storage.records import Part, Settlement
from ropewalk.storage.sqlite import nodes
from ropewalk.storage.sqlite.committer import Committer, Transaction
from ropewalk.storage.sqlite.storage import SqliteStorage

VERBS: Final = frozenset(
    name
    for name, verb in vars(SqliteStorage).items()
    if inspect.iscoroutinefunction(verb) and re.search(r"self\._write\b", inspect.getsource(verb))
)
EFFECTS: Final = frozenset(effect.__name__ for effect in typing.get_args(records.AnyEffect))
ENDS: Final = {
    "activate": ["succeeded", "dead"],
    "upgrade": ["succeeded", "retrying", "dead"],
    "deactivate": ["succeeded", "retrying", "dead"],
    "options": ["succeeded", "retrying", "dead"],
    "task": ["succeeded", "retrying", "dead", "failed"],
    "invoke": ["succeeded"],
    "webhook": ["succeeded"],
    "schedule": ["succeeded"],
}
"""How executions end, by what they are for."""

KINDS: Final = frozenset(
    [
        *(VERBS - {"settle"}),
        *EFFECTS,
        *(f"settle {trigger} {status}" for trigger, ends in ENDS.items() for status in ends),
        "settle lost",
        "settle and claim",
        "heartbeat",
    ]
)
"""Every kind of commit that there is."""


class Passed(Struct, frozen=True):
    """A commit that comes, or has come.

    Attributes:
        step: what was being done; -1 before the first step.
        kinds: what it is, each kind with how many of it there were since that step began, itself included.
        after: whether it has come.
    """

    step: int
    kinds: dict[str, int]
    after: bool


OnPoint = Callable[[Passed], None]
_verb: ContextVar[tuple[str, Any]] = ContextVar("verb")


class Naming:
    """Tells of each commit that writes something, right before and right after it.

    Args:
        on_point: told.
    """

    def __init__(self, on_point: OnPoint) -> None:
        self._on_point = on_point
        self._step = -1
        self._counts: Counter[str] = Counter()
        self._group: dict[str, int] = {}

    def begin(self, step: int) -> None:
        """Count anew: another step begins."""
        self._step = step
        self._counts.clear()

    def install(self) -> None:
        """Have the storage's verbs known by their names in this process from now on."""
        for name in VERBS:
            setattr(SqliteStorage, name, _named(name, getattr(SqliteStorage, name)))
        for name, wrapped in (("run", self._running), ("_begin", self._beginning), ("_commit", self._committing)):
            setattr(Committer, name, wrapped(vars(Committer)[name]))
        setattr(nodes, "heartbeat", self._beating(nodes.heartbeat))  # noqa: B010 - in place of the module's own

    def _running(self, run: Any) -> Any:
        async def running(committer: Committer, verb: Any, **how: bool) -> Any:
            name, argument = _verb.get()

            def naming(tx: Transaction) -> Any:
                trigger = _trigger(tx, argument)
                before = tx._connection.total_changes()
                result = verb(tx)
                if tx._connection.total_changes() != before:
                    self._note(_kinds(name, argument, trigger, result))
                return result

            return await run(committer, naming, **how)

        return running

    def _beginning(self, begin: Any) -> Any:
        def beginning(committer: Committer, **how: bool) -> None:
            self._group = {}
            begin(committer, **how)

        return beginning

    def _committing(self, commit: Any) -> Any:
        def committing(committer: Committer) -> None:
            kinds = self._group
            self._tell(kinds, after=False)
            commit(committer)
            self._tell(kinds, after=True)

        return committing

    def _beating(self, heartbeat: Any) -> Any:
        def beating(*arguments: Any) -> Any:
            self._counts["heartbeat"] += 1
            kinds = {"heartbeat": self._counts["heartbeat"]}
            self._tell(kinds, after=False)
            alive = heartbeat(*arguments)
            self._tell(kinds, after=True)
            return alive

        return beating

    def _note(self, kinds: Iterable[str]) -> None:
        for kind in kinds:
            if kind not in self._group:
                self._counts[kind] += 1
                self._group[kind] = self._counts[kind]

    def _tell(self, kinds: dict[str, int], *, after: bool) -> None:
        if kinds:
            self._on_point(Passed(self._step, kinds, after))


def _named(name: str, verb: Any) -> Any:
    async def named(storage: SqliteStorage, *arguments: Any, **how: Any) -> Any:
        token = _verb.set((name, arguments[0] if arguments else None))
        try:
            return await verb(storage, *arguments, **how)
        finally:
            _verb.reset(token)

    return named


def _trigger(tx: Transaction, argument: Any) -> str:
    """Return what the execution is for that is settled."""
    if not isinstance(argument, Settlement):
        return ""
    return str(tx.value("SELECT trigger FROM executions WHERE id = ?", (argument.execution,)))


def _kinds(name: str, argument: Any, trigger: str, result: Any) -> Iterable[str]:
    if isinstance(argument, Settlement):
        yield "settle lost" if argument.attempt.status == "lost" else f"settle {trigger} {argument.verdict.status}"
        if result.next is not None:
            yield "settle and claim"
    else:
        yield name
    if isinstance(argument, Settlement | Part):
        yield from {type(effect).__name__ for effect in argument.effects}
