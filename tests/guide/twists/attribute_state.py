"""Limitations 1, wrong: an attribute of the instance is lost with the process that set it."""

from ropewalk import Priority, Twist


class AttributeState(Twist):
    """Keeps its token where it cannot stay."""

    sync_token: str = ""

    async def activate(self, priority: Priority) -> None:
        """Save the token to the instance."""
        self.sync_token = "abc123"

    async def some_method(self) -> str:
        """Read it in another execution."""
        return self.sync_token
