"""The base of every twist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ropewalk.sdk.settings import Limits, RetryPolicy
from ropewalk.sdk.unit import Unit

if TYPE_CHECKING:
    from ropewalk.sdk.records import Priority


class Twist(Unit):
    """Base of a twist: subclass it once in a module, declare tools as class attributes, and write async methods.

    Attributes:
        limits: what one execution may use, where that is less than the operator allows.
        retry: when an execution that failed runs again.
        concurrency: how many executions of an instance may run at once; only 1 for now.
    """

    limits: ClassVar[Limits] = Limits()
    retry: ClassVar[RetryPolicy] = RetryPolicy()
    concurrency: ClassVar[int] = 1

    def __init__(self) -> None:
        if "_ropewalk" not in vars(self):
            raise RuntimeError(
                f"{type(self).__qualname__} can only be made by the runtime, for one execution: "
                "deploy it with `ropewalk deploy`, and test it with the kit in ropewalk.testing"
            )

    async def activate(self, priority: Priority) -> None:
        """Run once, when the twist is added to a priority."""

    async def upgrade(self) -> None:
        """Run once per live instance, in the new version's code, after that was deployed."""

    async def options_changed(self, before: Any) -> None:
        """Run once after each change of the instance's options, before whatever else starts later. `before` are the ones from before it."""

    async def deactivate(self) -> None:
        """Run once, when the twist is removed; afterwards nothing of the instance runs."""
