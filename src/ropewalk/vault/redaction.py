"""What stands in texts where a secret stood."""

from __future__ import annotations

from typing import Final

HIDDEN: Final = "***"
"""What is shown in place of a secret."""
