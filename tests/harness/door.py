"""Tests of ordinary HTTP clients: where the host can have no door for them, they say loudly that nothing was tested."""

from __future__ import annotations

import pytest

from ropewalk.sandbox.assessment import assess, has_door
from ropewalk.sandbox.facts import gather_facts

_FACTS = gather_facts()

_WHY = next((one.detail for one in assess(_FACTS).findings if one.means == "door"), "")

needs_door = pytest.mark.skipif(
    not has_door(_FACTS),
    reason=f"THE DOOR WAS NOT TESTED, since this host can have none, and twists `Network.fetch` alone: {_WHY}",
)
