"""What the audit finds, and how it is mended.

A check runs twice: while the audit looks, and again within the write that mends what it found, each fault being mended before the next
is looked for. So what is mended is what is wrong then, and a later check sees what an earlier one has put right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec import Struct

from ropewalk.storage.records import Finding


class Fault(Struct):
    """Something that is wrong: its name, what it is, what is done about it, and what does that (None: a person has to)."""

    name: str
    what: str
    remedy: str
    mend: Callable[[], object] | None
    instance: str | None = None
    execution: str | None = None

    @property
    def finding(self) -> Finding:
        """What is told of it."""
        return Finding(name=self.name, what=self.what, remedy=self.remedy, instance=self.instance, execution=self.execution)


Checking = Iterator[Fault]
