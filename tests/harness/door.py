"""Tests of ordinary HTTP clients: where the host can have no door for them, they say loudly that nothing was tested."""

from __future__ import annotations

import pytest

from ropewalk.sandbox.assessment import assess, has_door
from ropewalk.sandbox.facts import gather_facts

_FACTS = gather_facts()

needs_door = (
    pytest.mark.skipif(  # without namespaces, or with an older landlock, a host has `Network.fetch` alone: nothing to test
        not has_door(_FACTS),
        reason=f"THE DOOR WAS NOT TESTED: {next((one.detail for one in assess(_FACTS).findings if one.means == 'door'), '')}",
    )
)
